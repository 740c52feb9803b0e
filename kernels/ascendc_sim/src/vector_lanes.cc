#include "ascendc/vector_lanes.h"

#include <algorithm>

#include "sim/machine.h"

namespace AscendC {

using ifa::sim::Check;
using ifa::sim::Instruction;
using ifa::sim::kBlockBytes;

namespace {

constexpr int64_t kMostRepeats = 255;
constexpr int64_t kMostStride = 255;

LaneBits FirstLanes(uint64_t count) {
  const auto bits = [](uint64_t lanes) { return lanes >= 64 ? ~0ull : (uint64_t{1} << lanes) - 1; };
  return {bits(count), count > 64 ? bits(count - 64) : 0};
}

// The number of the highest lane, plus one.
uint32_t LaneEnd(const LaneBits &lanes) {
  for (int word = 1; word >= 0; --word) {
    if (lanes[word] != 0) {
      return static_cast<uint32_t>(64 * word + 64 - __builtin_clzll(lanes[word]));
    }
  }
  return 0;
}

}  // namespace

Repeats RepeatsOf(const Instruction &instruction, const Lanes &lanes, int64_t repeats,
                  uint32_t lanes_of_repeat) {
  instruction.Require(repeats >= 0 && repeats <= kMostRepeats, Check::kVectorRange,
                      "repeatTime is not from 0 to 255");
  instruction.Require(lanes.is_bits() || lanes.count() <= lanes_of_repeat, Check::kVectorRange,
                      "the mask is beyond the lanes of a repeat");
  const LaneBits mask = lanes.is_bits() ? lanes.bits() : FirstLanes(lanes.count());
  instruction.Require(LaneEnd(mask) > 0 && LaneEnd(mask) <= lanes_of_repeat, Check::kVectorRange,
                      "the mask has no lane, or lanes beyond those of a repeat");
  return {static_cast<uint32_t>(repeats), mask, {}};
}

Repeats RepeatsOf(const Instruction &instruction, int64_t count, uint32_t lanes_of_repeat) {
  instruction.Require(count >= 0, Check::kVectorRange, "count is negative");
  const auto elements = static_cast<uint64_t>(count);
  return {static_cast<uint32_t>(elements / lanes_of_repeat), FirstLanes(lanes_of_repeat),
          FirstLanes(elements % lanes_of_repeat)};
}

Operand CheckedOperand(const Instruction &instruction, const char *name, const ifa::sim::LocalRange &range,
                       uint32_t element_bytes, int64_t block_stride, int64_t repeat_stride,
                       const Repeats &repeats) {
  instruction.Require(
      block_stride >= 0 && block_stride <= kMostStride && repeat_stride >= 0 && repeat_stride <= kMostStride,
      Check::kVectorRange, "a stride is not from 0 to 255 blocks");
  instruction.Align(range, kBlockBytes, name);
  const Operand operand{range, element_bytes, static_cast<uint32_t>(block_stride),
                        static_cast<uint32_t>(repeat_stride)};
  for (const uint32_t repeat : {repeats.full - 1, repeats.count() - 1}) {
    const uint32_t end = repeat < repeats.count() ? LaneEnd(repeats.lanes(repeat)) : 0;
    if (end > 0) {
      const uint32_t block = (end - 1) / operand.lanes_of_block();
      const uint32_t used = ((end - 1) % operand.lanes_of_block() + 1) * element_bytes;
      instruction.Bounds(range, operand.address(repeat, block) - range.address, used);
    }
  }
  return operand;
}

void CheckOverlap(const Instruction &instruction, const Operand &dst, const Operand &src,
                  const Repeats &repeats) {
  const bool is_alike = dst.element_bytes == src.element_bytes && dst.block_stride == src.block_stride;
  for (uint32_t repeat = 0; repeat < repeats.count(); ++repeat) {
    const uint32_t to = dst.address(repeat, 0);
    const uint32_t from = src.address(repeat, 0);
    const uint32_t lanes = LaneEnd(repeats.lanes(repeat));
    const uint32_t to_blocks = (lanes - 1) / dst.lanes_of_block() + 1;
    const uint32_t from_blocks = (lanes - 1) / src.lanes_of_block() + 1;
    if ((is_alike && to == from) || to >= src.address(repeat, from_blocks - 1) + kBlockBytes ||
        from >= dst.address(repeat, to_blocks - 1) + kBlockBytes) {
      continue;
    }
    for (uint32_t i = 0; i < to_blocks; ++i) {
      for (uint32_t j = 0; j < from_blocks; ++j) {
        instruction.Require(dst.address(repeat, i) != src.address(repeat, j), Check::kOverlap,
                            "operands of a repeat overlap without being the same");
      }
    }
  }
}

void FinishVector(Instruction &instruction, const Repeats &repeats, double cycles_of_repeat) {
  auto &machine = instruction.core().machine();
  machine.result().repeats[instruction.name()] += repeats.count();
  instruction.Finish(repeats.count() * cycles_of_repeat, machine.options().costs.vector_latency);
}

}  // namespace AscendC
