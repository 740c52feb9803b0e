// The memories of a core, with a record for every 32 bytes of what has been written and who touched it last.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "ascendc/keywords.h"

namespace ifa::sim {

constexpr uint32_t kBlockBytes = 32;
constexpr uint32_t kWholeBlock = 0xffffffff;

enum class Memory : uint8_t { kUb, kL1, kL0A, kL0B, kL0C };
constexpr int kMemories = 5;
const char *MemoryName(Memory memory);

/// The memory that a position of a tensor means.
Memory MemoryOf(AscendC::TPosition position);

/// The last access of one pipe to a block: the number of its instruction, and one bit for each of the 32
/// bytes.
struct Stamp {
  uint32_t number = 0;
  uint32_t bytes = 0;
};

/// At most four pipes reach any one memory.
constexpr int kSlots = 4;

struct Block {
  std::array<Stamp, kSlots> writes;
  std::array<Stamp, kSlots> reads;
};

class LocalMemory {
 public:
  /// Poisoned: every byte 0xff, which is a NaN in every type, and recorded as never written.
  explicit LocalMemory(Memory memory);

  Memory memory() const { return memory_; }
  uint32_t bytes() const { return bytes_; }  ///< what a kernel may use
  uint8_t *data() { return data_.get(); }
  uint32_t &written(uint32_t block) { return written_[block]; }  ///< one bit for each byte
  Block &block(uint32_t block) { return blocks_[block]; }

  int slots() const { return slot_count_; }  ///< pipes that reach this memory
  pipe_t PipeOf(int slot) const { return pipes_[slot]; }
  int SlotOf(pipe_t pipe) const { return slots_[pipe]; }  ///< -1 when the pipe does not reach this memory

 private:
  Memory memory_;
  uint32_t bytes_;
  int slot_count_ = 0;
  std::array<pipe_t, kSlots> pipes_;
  std::array<int8_t, PIPE_ALL> slots_;
  std::unique_ptr<uint8_t[]> data_;
  std::unique_ptr<uint32_t[]> written_;
  std::unique_ptr<Block[]> blocks_;
};

}  // namespace ifa::sim
