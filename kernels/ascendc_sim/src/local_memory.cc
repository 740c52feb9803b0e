#include "sim/local_memory.h"

#include <cstring>

#include "sim/clocks.h"

namespace ifa::sim {
namespace {

constexpr pipe_t kNone = PIPE_ALL;

struct Layout {
  const char *name;
  uint32_t bytes;
  std::array<pipe_t, kSlots> pipes;
};

// Of the unified buffer the compiler keeps 8 KiB and 256 bytes for its own use, of L1 256 bytes in kernels
// that use both kinds of core.
constexpr Layout kLayouts[kMemories] = {
    {"UB", 184 * 1024 - 256, {PIPE_S, PIPE_V, PIPE_MTE2, PIPE_MTE3}},
    {"L1", 512 * 1024 - 256, {PIPE_MTE1, PIPE_MTE2, PIPE_MTE3, PIPE_FIX}},
    {"L0A", 64 * 1024, {PIPE_MTE1, PIPE_M, kNone, kNone}},
    {"L0B", 64 * 1024, {PIPE_MTE1, PIPE_M, kNone, kNone}},
    {"L0C", 128 * 1024, {PIPE_M, PIPE_FIX, kNone, kNone}},
};

const Layout &LayoutOf(Memory memory) { return kLayouts[static_cast<int>(memory)]; }

}  // namespace

const char *MemoryName(Memory memory) { return LayoutOf(memory).name; }

Memory MemoryOf(AscendC::TPosition position) {
  using AscendC::TPosition;
  switch (position) {
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::C1:
    case TPosition::TSCM:
      return Memory::kL1;
    case TPosition::A2:
      return Memory::kL0A;
    case TPosition::B2:
      return Memory::kL0B;
    case TPosition::CO1:
      return Memory::kL0C;
    default:
      return Memory::kUb;
  }
}

const char *PipeName(pipe_t pipe) {
  constexpr const char *kNames[] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX", "ALL"};
  return kNames[pipe];
}

LocalMemory::LocalMemory(Memory memory)
    : memory_(memory), bytes_(LayoutOf(memory).bytes), pipes_(LayoutOf(memory).pipes) {
  slots_.fill(-1);
  for (; slot_count_ < kSlots && pipes_[slot_count_] != kNone; ++slot_count_) {
    slots_[pipes_[slot_count_]] = static_cast<int8_t>(slot_count_);
  }
  const uint32_t blocks = bytes_ / kBlockBytes;
  data_ = std::make_unique<uint8_t[]>(bytes_);
  std::memset(data_.get(), 0xff, bytes_);
  written_ = std::make_unique<uint32_t[]>(blocks);
  blocks_ = std::make_unique<Block[]>(blocks);
}

}  // namespace ifa::sim
