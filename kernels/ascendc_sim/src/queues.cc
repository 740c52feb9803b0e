#include "ascendc/queues.h"

#include "sim/machine.h"

namespace AscendC {
namespace {

// As many buffers as all queues and TBufs of a kernel may have.
constexpr size_t kMostBuffers = 64;

}  // namespace

TPipe::TPipe(Site site) : core_(ifa::sim::Core::Current()) {
  core_.Require(core_.tensor_pipe == nullptr, ifa::sim::Check::kQueue, site, "a TPipe is alive already");
  core_.tensor_pipe = this;
  core_.buffers.clear();
  core_.allocated = {};
}

// What the last users of the buffers have set is awaited, as it is at the end of a kernel on the device.
TPipe::~TPipe() {
  for (size_t i = 0; i < core_.buffers.size(); ++i) {
    Buffer &buffer = core_.buffers[i];
    if (buffer.state == Buffer::State::kFree && buffer.event >= 0) {
      core_.DrainFlag(freed_[i], buffer.event);
      core_.TakeEvent(freed_[i], buffer.event, false);
    }
  }
  core_.tensor_pipe = nullptr;
}

int TPipe::Allocate(TPosition position, uint32_t bytes, Buffer::State state, const Site &site) {
  const auto memory = ifa::sim::MemoryOf(position);
  uint32_t &used = core_.allocated[static_cast<int>(memory)];
  const uint64_t rounded =
      (uint64_t{bytes} + ifa::sim::kBlockBytes - 1) / ifa::sim::kBlockBytes * ifa::sim::kBlockBytes;
  const uint32_t available = core_.memory(memory, site).bytes();
  if (used + rounded > available) {
    core_.Fail(ifa::sim::Check::kBufferSize, site,
               "InitBuffer of " + std::to_string(rounded) + " bytes of " + ifa::sim::MemoryName(memory) +
                   " after " + std::to_string(used) + ", it has " + std::to_string(available));
  }
  core_.Require(core_.buffers.size() < kMostBuffers, ifa::sim::Check::kBufferSize, site,
                "InitBuffer of more than 64 buffers");
  core_.Require(rounded > 0, ifa::sim::Check::kBufferSize, site, "InitBuffer of no bytes");
  core_.buffers.push_back({memory, used, static_cast<uint32_t>(rounded), state, -1, site});
  used += static_cast<uint32_t>(rounded);
  return static_cast<int>(core_.buffers.size()) - 1;
}

}  // namespace AscendC

AscendC::TPipe *GetTPipePtr() { return ifa::sim::Core::Current().tensor_pipe; }
