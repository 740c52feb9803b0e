// TPipe gives out buffers; queues pass them between pipes, with a flag for every step.
#pragma once

#include <algorithm>
#include <deque>
#include <type_traits>
#include <vector>

#include "ascendc/tensors.h"

namespace AscendC {

using ifa::sim::Buffer;

/// The events of a queue between two positions: the producer is done with a tensor, the consumer is.
struct QueueEvents {
  HardEvent filled;
  HardEvent freed;
};

constexpr QueueEvents EventsOf(TPosition from, TPosition to) {
  if (from == TPosition::VECIN && to == TPosition::VECOUT) {
    return {HardEvent::MTE2_MTE3, HardEvent::MTE3_MTE2};
  }
  switch (from) {
    case TPosition::VECIN:
      return {HardEvent::MTE2_V, HardEvent::V_MTE2};
    case TPosition::VECOUT:
      return {HardEvent::V_MTE3, HardEvent::MTE3_V};
    case TPosition::A1:
    case TPosition::B1:
      return {HardEvent::MTE2_MTE1, HardEvent::MTE1_MTE2};
    case TPosition::A2:
    case TPosition::B2:
      return {HardEvent::MTE1_M, HardEvent::M_MTE1};
    case TPosition::CO1:
      return {HardEvent::M_FIX, HardEvent::FIX_M};
    default:
      return {HardEvent::MAX, HardEvent::MAX};
  }
}

template <TPosition from, TPosition to, int32_t depth, int mask = 0>
class TQueBind {
 public:
  static_assert(EventsOf(from, to).filled != HardEvent::MAX,
                "a queue is between two pipes; use TBuf within one");

  /// A buffer that is free, once its last consumer is done with it.
  template <typename T>
  LocalTensor<T> AllocTensor(Site site = Site::Here()) {
    for (const int index : buffers_) {
      Buffer &buffer = ifa::sim::Core::Current().buffers[index];
      if (buffer.state == Buffer::State::kFree) {
        Await(kEvents.freed, buffer, site);
        Change(buffer, Buffer::State::kAllocated, site);
        return LocalTensor<T>(from, {buffer.memory, buffer.address, buffer.address + buffer.bytes, index});
      }
    }
    ifa::sim::Core::Current().Fail(
        ifa::sim::Check::kQueue, site,
        "AllocTensor with all " + std::to_string(buffers_.size()) + " buffers in use");
  }

  template <typename T>
  bool EnQue(const LocalTensor<T> &tensor, Site site = Site::Here()) {
    Buffer &buffer = Own(tensor.range().buffer, Buffer::State::kAllocated,
                         "EnQue of a tensor that is not allocated", site);
    ifa::sim::Core::Current().Require(
        queue_.size() < buffers_.size() && static_cast<int>(queue_.size()) < depth, ifa::sim::Check::kQueue,
        site, "EnQue into a queue that is full: see its depth");
    Signal(kEvents.filled, buffer, site);
    Change(buffer, Buffer::State::kEnqueued, site);
    queue_.push_back(tensor.range().buffer);
    return true;
  }

  template <typename T>
  LocalTensor<T> DeQue(Site site = Site::Here()) {
    auto &core = ifa::sim::Core::Current();
    core.Require(!queue_.empty(), ifa::sim::Check::kQueue, site, "DeQue of an empty queue");
    const int index = queue_.front();
    queue_.pop_front();
    Buffer &buffer = core.buffers[index];
    Await(kEvents.filled, buffer, site);
    Change(buffer, Buffer::State::kDequeued, site);
    return LocalTensor<T>(to, {buffer.memory, buffer.address, buffer.address + buffer.bytes, index});
  }

  template <typename T>
  void FreeTensor(LocalTensor<T> &tensor, Site site = Site::Here()) {
    Buffer &buffer = Own(tensor.range().buffer, Buffer::State::kDequeued,
                         "FreeTensor of a tensor that is not dequeued", site);
    Signal(kEvents.freed, buffer, site);
    Change(buffer, Buffer::State::kFree, site);
    // At the end, so that buffers are used in turn.
    const auto place = std::find(buffers_.begin(), buffers_.end(), tensor.range().buffer);
    std::rotate(place, place + 1, buffers_.end());
  }

 private:
  friend class TPipe;
  static constexpr QueueEvents kEvents = EventsOf(from, to);

  static void Change(Buffer &buffer, Buffer::State state, const Site &site) {
    buffer.state = state;
    buffer.site = site;
  }
  static void Signal(HardEvent event, Buffer &buffer, const Site &site) {
    auto &core = ifa::sim::Core::Current();
    buffer.event = core.FreeEvent(event, site);
    core.TakeEvent(event, buffer.event, true);
    core.SetFlag(event, buffer.event, site);
  }
  static void Await(HardEvent event, Buffer &buffer, const Site &site) {
    if (buffer.event < 0) {
      return;  // the first use
    }
    auto &core = ifa::sim::Core::Current();
    core.WaitFlag(event, buffer.event, site);
    core.TakeEvent(event, buffer.event, false);
    buffer.event = -1;
  }
  Buffer &Own(int index, Buffer::State expected, const char *problem, const Site &site) const {
    auto &core = ifa::sim::Core::Current();
    core.Require(std::find(buffers_.begin(), buffers_.end(), index) != buffers_.end(),
                 ifa::sim::Check::kQueue, site, "the tensor is not of this queue");
    core.Require(core.buffers[index].state == expected, ifa::sim::Check::kQueue, site, problem);
    return core.buffers[index];
  }

  std::vector<int> buffers_;  // those that are free in the order in which they became so
  std::deque<int> queue_;
};

template <TPosition position, int32_t depth, int mask = 0>
class TQue : public TQueBind<position, position, depth, mask> {};

template <TPosition position = TPosition::LCM>
class TBuf {
 public:
  template <typename T>
  LocalTensor<T> Get() const {
    return LocalTensor<T>(position, range_);
  }
  /// `elements` is not a limit: the buffer is.
  template <typename T>
  LocalTensor<T> Get(uint32_t) const {
    return Get<T>();
  }

 private:
  friend class TPipe;
  ifa::sim::LocalRange range_;
};

class TPipe {
 public:
  explicit TPipe(Site site = Site::Here());
  ~TPipe();
  TPipe(const TPipe &) = delete;
  TPipe &operator=(const TPipe &) = delete;

  template <TPosition from, TPosition to, int32_t depth, int mask>
  bool InitBuffer(TQueBind<from, to, depth, mask> &queue, uint8_t count, uint32_t bytes,
                  Site site = Site::Here()) {
    for (int i = 0; i < count; ++i) {
      queue.buffers_.push_back(Allocate(from, bytes, Buffer::State::kFree, site));
      freed_.push_back(EventsOf(from, to).freed);
    }
    return true;
  }
  template <TPosition position>
  bool InitBuffer(TBuf<position> &buffer, uint32_t bytes, Site site = Site::Here()) {
    const int index = Allocate(position, bytes, Buffer::State::kPlain, site);
    freed_.push_back(HardEvent::MAX);
    const Buffer &made = core_.buffers[index];
    buffer.range_ = {made.memory, made.address, made.address + made.bytes, index};
    return true;
  }

  TEventID FetchEventID(HardEvent event, Site site = Site::Here()) {
    return static_cast<TEventID>(core_.FreeEvent(event, site));
  }

 private:
  int Allocate(TPosition position, uint32_t bytes, Buffer::State state, const Site &site);

  ifa::sim::Core &core_;
  std::vector<HardEvent> freed_;  // of each of the core's buffers
};

}  // namespace AscendC

/// The TPipe of the core; none before its kernel has made one.
AscendC::TPipe *GetTPipePtr();
