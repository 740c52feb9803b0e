#include "sim/machine.h"

#include <algorithm>
#include <thread>

namespace ifa::sim {
namespace {

thread_local Core *current = nullptr;

// Thrown into the other cores once one of them has failed.
struct Stopped {};

// The counter of a flag between cores has four bits.
constexpr size_t kMostSet = 15;

struct Shape {
  int cube;
  int vector;
};

Shape ShapeOf(KernelType type) {
  switch (type) {
    case KernelType::kAivOnly:
    case KernelType::kMixAiv1_0:
      return {0, 1};
    case KernelType::kAicOnly:
    case KernelType::kMixAic1_0:
      return {1, 0};
    case KernelType::kMixAic1_1:
      return {1, 1};
    case KernelType::kMixAic1_2:
      return {1, 2};
  }
  return {0, 0};
}

}  // namespace

Core &Core::Current() { return *current; }

Machine::Machine(GlobalMemory &memory, const LaunchOptions &options) : memory_(memory), options_(options) {
  const Shape shape = ShapeOf(options.type);
  const int cores = static_cast<int>(options.blocks) * (shape.cube + shape.vector);
  for (int block = 0; block < static_cast<int>(options.blocks); ++block) {
    for (int i = 0; i < shape.cube + shape.vector; ++i) {
      const auto kind = i < shape.cube ? CoreKind::kCube : CoreKind::kVector;
      const int sub = kind == CoreKind::kVector ? i - shape.cube : 0;
      cores_.push_back(
          std::make_unique<Core>(*this, kind, static_cast<int>(cores_.size()), block, sub, cores));
      turns_.push_back(std::make_unique<Turn>());
    }
  }
}

double Machine::GlobalRate(const GlobalRegion &region, bool is_write) const {
  const Costs &costs = options_.costs;
  if (is_write) {
    return costs.l2_write;
  }
  const uint32_t readers = options_.hbm_readers == 0 ? options_.blocks : options_.hbm_readers;
  return region.placement == Placement::kHbm ? costs.HbmShare(readers) : costs.l2_read;
}

LaunchResult Machine::Run(const std::function<void()> &kernel) {
  for (auto &region : memory_.regions()) {
    region->bytes_read = region->bytes_written = 0;
  }
  std::vector<std::thread> threads;
  try {
    for (size_t i = 0; i < cores_.size(); ++i) {
      threads.emplace_back([this, i, &kernel] { RunCore(static_cast<int>(i), kernel); });
    }
  } catch (...) {  // no thread to be had: those that have started end
    const std::lock_guard<std::mutex> lock(mutex_);
    Stop(std::current_exception());
  }
  for (auto &thread : threads) {
    thread.join();
  }
  if (error_) {
    std::rethrow_exception(error_);
  }
  CheckFlagsLeft();
  Collect();
  return std::move(result_);
}

void Machine::RunCore(int index, const std::function<void()> &kernel) {
  std::unique_lock<std::mutex> lock(mutex_);
  turns_[index]->called.wait(lock, [&] { return running_ == index || error_; });
  if (error_) {
    return;
  }
  lock.unlock();
  current = cores_[index].get();
  try {
    kernel();
    current->Finish();
  } catch (const Stopped &) {
    return;
  } catch (...) {
    lock.lock();
    Stop(std::current_exception());
    return;
  }
  lock.lock();
  turns_[index]->state = Turn::State::kDone;
  try {
    HandOver(index);
  } catch (...) {
    Stop(std::current_exception());
  }
}

// The next core that can go on, in a round that starts after `after`; -1 if there is none.
int Machine::Next(int after) const {
  const int cores = static_cast<int>(turns_.size());
  for (int step = 1; step <= cores; ++step) {
    const int index = (after + step) % cores;
    const Turn &turn = *turns_[index];
    if (turn.state == Turn::State::kReady || (turn.state == Turn::State::kWaiting && turn.may_go())) {
      return index;
    }
  }
  return -1;
}

void Machine::HandOver(int from) {
  const int next = Next(from);
  if (next >= 0) {
    running_ = next;
    turns_[next]->called.notify_one();
    return;
  }
  for (size_t i = 0; i < turns_.size(); ++i) {
    const Turn &turn = *turns_[i];
    if (turn.state == Turn::State::kWaiting) {
      cores_[i]->Fail(Check::kDeadlock, turn.site, "waits for " + turn.what + ", and no core can go on");
    }
  }
}

void Machine::Wait(Core &core, const Site &site, const std::string &what, std::function<bool()> may_go) {
  if (may_go()) {
    return;
  }
  std::unique_lock<std::mutex> lock(mutex_);
  Turn &turn = *turns_[core.index()];
  turn.may_go = std::move(may_go);
  turn.site = site;
  turn.what = what;
  turn.state = Turn::State::kWaiting;
  HandOver(core.index());
  turn.called.wait(lock, [&] { return running_ == core.index() || error_; });
  if (error_) {
    throw Stopped();
  }
  turn.state = Turn::State::kReady;
}

void Machine::Stop(std::exception_ptr error) {
  error_ = error;
  for (auto &turn : turns_) {
    turn->called.notify_all();
  }
}

FlagGroup Machine::GroupOf(const Core &core, int mode) const {
  FlagGroup group;
  for (const auto &other : cores_) {
    const bool is_alike = other->kind() == core.kind();
    const bool is_near = other->block() == core.block();
    const bool is_member = mode == kAll || (is_alike && (mode == 0 || mode == kAllVector || is_near));
    const bool is_receiver = mode == 2 ? !is_alike && is_near : is_member;
    if (is_member) {
      group.members.push_back(other->index());
    }
    if (is_receiver) {
      group.receivers.push_back(other->index());
    }
  }
  return group;
}

void Machine::CrossSet(Core &core, int mode, int flag, Clock clock, const Site &site) {
  core.Require(options_.type != KernelType::kAivOnly && options_.type != KernelType::kAicOnly,
               Check::kKernelType, site, "flags between cores need a kernel of a MIX type");
  ++result_.flags["CrossCoreSetFlag"];
  clock.ready += options_.costs.cross_core_latency;
  const auto full = [&](const Queue &queue) {
    core.Require(queue.size() < kMostSet, Check::kFlagCounter, site,
                 "the flag would be set more than 15 times before it is awaited");
  };
  Queue &mine = pending_[{mode, flag, core.index()}];
  full(mine);
  mine.push_back({std::move(clock), site});
  const FlagGroup group = GroupOf(core, mode);
  const auto has_set = [&](int member) { return !pending_[{mode, flag, member}].empty(); };
  if (!std::all_of(group.members.begin(), group.members.end(), has_set)) {
    return;
  }
  CrossFlag joined{Clock(static_cast<int>(cores_.size())), site};
  for (const int member : group.members) {
    Queue &queue = pending_[{mode, flag, member}];
    joined.clock.Join(queue.front().clock);
    queue.pop_front();
  }
  for (const int receiver : group.receivers) {
    Queue &queue = received_[{mode < kAllVector ? 0 : mode, flag, receiver}];
    full(queue);
    queue.push_back(joined);
  }
}

void Machine::CrossWait(Core &core, int mode, int flag, const Site &site) {
  core.ScalarCall();
  Queue &queue = received_[{mode < kAllVector ? 0 : mode, flag, core.index()}];
  Wait(core, site, mode < kAllVector ? "flag " + std::to_string(flag) + " of another core" : "SyncAll",
       [&queue] { return !queue.empty(); });
  core.Follow(PIPE_S, queue.front().clock);
  queue.pop_front();
}

void Machine::CheckFlagsLeft() {
  for (const auto *queues : {&pending_, &received_}) {
    for (const auto &[key, queue] : *queues) {
      if (!queue.empty()) {
        cores_[std::get<2>(key)]->Fail(
            Check::kFlagLeftSet, queue.front().site,
            "flag " + std::to_string(std::get<1>(key)) + " between cores is set, but not awaited");
      }
    }
  }
}

void Machine::Collect() {
  for (const auto &core : cores_) {
    for (int i = 0; i < kPipes; ++i) {
      const auto kind = static_cast<pipe_t>(i);
      if (core->Has(kind)) {
        const Pipe &pipe = core->pipe(kind);
        result_.cycles = std::max({result_.cycles, pipe.free, pipe.complete});
        result_.pipes.push_back({core->Name(), PipeName(kind), pipe.busy, pipe.issued});
      }
    }
  }
  result_.seconds = result_.cycles / options_.costs.clock;
  for (const auto &region : memory_.regions()) {
    result_.tensors.push_back({region->name, region->bytes_read, region->bytes_written});
  }
}

LaunchResult Launch(GlobalMemory &memory, const LaunchOptions &options, const std::function<void()> &kernel) {
  return Machine(memory, options).Run(kernel);
}

}  // namespace ifa::sim
