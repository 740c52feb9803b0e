// How a vector instruction walks over memory: repeats of 8 blocks of 32 bytes, strides between both, and a
// mask that says which lanes take part. Everything that calculates in the vector unit is a function of lanes
// put into Elementwise.
#pragma once

#include <array>

#include "ascendc/tensors.h"

namespace AscendC {

// The strides are kept wider than the instruction's fields, so that one that does not fit is reported, not
// truncated.
struct UnaryRepeatParams {
  int32_t dstBlkStride = 1, srcBlkStride = 1, dstRepStride = 8, srcRepStride = 8;

  UnaryRepeatParams() = default;
  UnaryRepeatParams(int32_t dst_block, int32_t src_block, int32_t dst_repeat, int32_t src_repeat)
      : dstBlkStride(dst_block),
        srcBlkStride(src_block),
        dstRepStride(dst_repeat),
        srcRepStride(src_repeat) {}
};

struct BinaryRepeatParams {
  int32_t dstBlkStride = 1, src0BlkStride = 1, src1BlkStride = 1, dstRepStride = 8, src0RepStride = 8,
          src1RepStride = 8;

  BinaryRepeatParams() = default;
  BinaryRepeatParams(int32_t dst_block, int32_t src0_block, int32_t src1_block, int32_t dst_repeat,
                     int32_t src0_repeat, int32_t src1_repeat)
      : dstBlkStride(dst_block),
        src0BlkStride(src0_block),
        src1BlkStride(src1_block),
        dstRepStride(dst_repeat),
        src0RepStride(src0_repeat),
        src1RepStride(src1_repeat) {}
};

/// The lanes of a repeat that take part: the first few, or those with a bit.
class Lanes {
 public:
  Lanes(uint64_t first) : count_(first) {}  // NOLINT: an argument of the device's interfaces
  Lanes(const uint64_t *bits) : bits_({bits[0], bits[1]}), is_bits_(true) {}  // NOLINT

  bool is_bits() const { return is_bits_; }
  uint64_t count() const { return count_; }
  const std::array<uint64_t, 2> &bits() const { return bits_; }

 private:
  uint64_t count_ = 0;
  std::array<uint64_t, 2> bits_{};
  bool is_bits_ = false;
};

using LaneBits = std::array<uint64_t, 2>;  // low, high

/// The repeats of one instruction: `full` with the same mask, and then one with `tail` unless that is empty.
struct Repeats {
  uint32_t full = 0;
  LaneBits mask{};
  LaneBits tail{};

  uint32_t count() const { return full + (tail[0] != 0 || tail[1] != 0 ? 1 : 0); }
  const LaneBits &lanes(uint32_t repeat) const { return repeat < full ? mask : tail; }
};

constexpr uint32_t kMostLanes = 128;
constexpr uint32_t kBlocksOfRepeat = 8;

/// Of an interface with a mask and a number of repeats.
Repeats RepeatsOf(const ifa::sim::Instruction &instruction, const Lanes &lanes, int64_t repeats,
                  uint32_t lanes_of_repeat);
/// Of an interface that takes the first `count` elements.
Repeats RepeatsOf(const ifa::sim::Instruction &instruction, int64_t count, uint32_t lanes_of_repeat);

/// One operand of an instruction; strides in blocks of 32 bytes.
struct Operand {
  ifa::sim::LocalRange range;
  uint32_t element_bytes;
  uint32_t block_stride;
  uint32_t repeat_stride;

  uint32_t lanes_of_block() const { return ifa::sim::kBlockBytes / element_bytes; }
  uint32_t address(uint32_t repeat, uint32_t block) const {
    return range.address + (repeat * repeat_stride + block * block_stride) * ifa::sim::kBlockBytes;
  }
};

/// An operand whose address, strides and extent are checked; `alignment` of its address in bytes.
Operand CheckedOperand(const ifa::sim::Instruction &instruction, const char *name,
                       const ifa::sim::LocalRange &range, uint32_t element_bytes, int64_t block_stride,
                       int64_t repeat_stride, const Repeats &repeats);

/// Operands of one repeat must be the same or apart.
void CheckOverlap(const ifa::sim::Instruction &instruction, const Operand &dst, const Operand &src,
                  const Repeats &repeats);

/// Bits of the lanes of one block.
inline uint32_t LanesOfBlock(const LaneBits &lanes, uint32_t block, uint32_t lanes_of_block) {
  const uint32_t first = block * lanes_of_block;
  const uint64_t word = first < 64 ? lanes[0] : lanes[1];
  return static_cast<uint32_t>(word >> (first % 64) & ((uint64_t{1} << lanes_of_block) - 1));
}

/// One bit for each byte of the lanes of a block.
inline uint32_t BytesOfLanes(uint32_t lanes, uint32_t element_bytes) {
  if (lanes == (uint64_t{1} << (ifa::sim::kBlockBytes / element_bytes)) - 1) {
    return ifa::sim::kWholeBlock;
  }
  uint32_t bytes = 0;
  for (uint32_t lane = 0; lane * element_bytes < ifa::sim::kBlockBytes; ++lane) {
    bytes |= (lanes >> lane & 1) == 0 ? 0 : ((1u << element_bytes) - 1) << (lane * element_bytes);
  }
  return bytes;
}

/// What a type is calculated in.
template <typename T>
struct WideOf {
  using Type = int32_t;
};
template <>
struct WideOf<half> {
  using Type = float;
};
template <>
struct WideOf<bfloat16_t> {
  using Type = float;
};
template <>
struct WideOf<float> {
  using Type = float;
};
template <>
struct WideOf<uint32_t> {
  using Type = uint32_t;
};
template <typename T>
using Wide = typename WideOf<T>::Type;

/// Reads the lanes of one repeat. Lanes that do not take part are left as they are.
template <typename T>
void LoadLanes(ifa::sim::Instruction &instruction, const Operand &operand, uint32_t repeat,
               const LaneBits &lanes, Wide<T> *values) {
  constexpr uint32_t kLanes = ifa::sim::kBlockBytes / sizeof(T);
  ifa::sim::LocalMemory &memory = instruction.memory(operand.range.memory);
  for (uint32_t block = 0; block * kLanes < kMostLanes; ++block) {
    const uint32_t active = LanesOfBlock(lanes, block, kLanes);
    if (active == 0) {
      continue;
    }
    const uint32_t address = operand.address(repeat, block);
    instruction.TouchBlock(ifa::sim::Access::kRead, memory, address / ifa::sim::kBlockBytes,
                           BytesOfLanes(active, sizeof(T)));
    T stored[kLanes];
    std::memcpy(stored, memory.data() + address, sizeof(stored));
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      values[block * kLanes + lane] = static_cast<Wide<T>>(stored[lane]);
    }
  }
}

template <typename T>
void StoreLanes(ifa::sim::Instruction &instruction, const Operand &operand, uint32_t repeat,
                const LaneBits &lanes, const Wide<T> *values) {
  constexpr uint32_t kLanes = ifa::sim::kBlockBytes / sizeof(T);
  ifa::sim::LocalMemory &memory = instruction.memory(operand.range.memory);
  for (uint32_t block = 0; block * kLanes < kMostLanes; ++block) {
    const uint32_t active = LanesOfBlock(lanes, block, kLanes);
    if (active == 0) {
      continue;
    }
    const uint32_t address = operand.address(repeat, block);
    const uint32_t bytes = BytesOfLanes(active, sizeof(T));
    instruction.TouchBlock(ifa::sim::Access::kWrite, memory, address / ifa::sim::kBlockBytes, bytes);
    T stored[kLanes];
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      stored[lane] = static_cast<T>(values[block * kLanes + lane]);
    }
    if (bytes == ifa::sim::kWholeBlock) {
      std::memcpy(memory.data() + address, stored, sizeof(stored));
      continue;
    }
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if ((active >> lane & 1) != 0) {
        std::memcpy(memory.data() + address + lane * sizeof(T), &stored[lane], sizeof(T));
      }
    }
  }
}

/// Takes the time of the repeats, and counts them.
void FinishVector(ifa::sim::Instruction &instruction, const Repeats &repeats, double cycles_of_repeat);

/// How an elementwise instruction treats its destination.
enum class Destination { kWritten, kAccumulated };

struct Source {
  const ifa::sim::LocalRange &range;
  int64_t block_stride;
  int64_t repeat_stride;
};

/// dst = function(dst, sources...) for every lane; the old dst only counts when it is accumulated. All
/// sources have the type S.
template <typename D, typename S, Destination destination, size_t kSources, typename Function>
void Elementwise(ifa::sim::Instruction &instruction, const Repeats &repeats, const Source &dst,
                 const std::array<Source, kSources> &sources, double cycles_of_repeat,
                 const Function &function) {
  const Operand out =
      CheckedOperand(instruction, "dst", dst.range, sizeof(D), dst.block_stride, dst.repeat_stride, repeats);
  std::array<Operand, kSources> in;
  for (size_t i = 0; i < kSources; ++i) {
    constexpr const char *kNames[] = {"src0", "src1"};
    in[i] = CheckedOperand(instruction, kSources == 1 ? "src" : kNames[i], sources[i].range, sizeof(S),
                           sources[i].block_stride, sources[i].repeat_stride, repeats);
    CheckOverlap(instruction, out, in[i], repeats);
  }
  Wide<D> result[kMostLanes] = {};
  Wide<S> values[2][kMostLanes] = {};
  for (uint32_t repeat = 0; repeat < repeats.count(); ++repeat) {
    const LaneBits &lanes = repeats.lanes(repeat);
    for (size_t i = 0; i < kSources; ++i) {
      LoadLanes<S>(instruction, in[i], repeat, lanes, values[i]);
    }
    if constexpr (destination == Destination::kAccumulated) {
      LoadLanes<D>(instruction, out, repeat, lanes, result);
    }
    for (uint32_t lane = 0; lane < kMostLanes; ++lane) {
      result[lane] = function(result[lane], values[0][lane], values[1][lane]);
    }
    StoreLanes<D>(instruction, out, repeat, lanes, result);
  }
  FinishVector(instruction, repeats, cycles_of_repeat);
}

/// Lanes of a repeat of an instruction whose widest element has `bytes` bytes.
constexpr uint32_t LanesOfRepeat(size_t bytes) {
  return static_cast<uint32_t>(kBlocksOfRepeat * ifa::sim::kBlockBytes / bytes);
}

/// The stride of a repeat without gaps, for elements of `bytes` bytes in an instruction of `lanes` lanes.
constexpr int32_t DenseStride(size_t bytes, uint32_t lanes) {
  return static_cast<int32_t>(lanes * bytes / ifa::sim::kBlockBytes);
}

}  // namespace AscendC
