// Reductions of the vector unit: of every repeat to one number.
#pragma once

#include "ascendc/vector_lanes.h"

namespace AscendC {
namespace lanes {

struct Reduced {
  float value;
  uint32_t index;  ///< of the lane, for a maximum
};

/// Of the first `count` lanes, those with a bit.
using Reduction = Reduced (*)(const float *values, const LaneBits &lanes, uint32_t count);

/// Added pair by pair, lanes without a bit as 0.
Reduced Sum(const float *values, const LaneBits &lanes, uint32_t count);
Reduced Maximum(const float *values, const LaneBits &lanes, uint32_t count);

// Which of value and index are stored, in order.
struct Stored {
  bool value;
  bool index;
  bool index_first;
};

template <typename T>
void StoreReduced(ifa::sim::Instruction &instruction, const LocalTensor<T> &dst, uint32_t at,
                  const Reduced &reduced, const Stored &stored) {
  using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;
  const auto store = [&](uint32_t byte, const void *from, uint32_t bytes) {
    std::memcpy(instruction.Touch(ifa::sim::Access::kWrite, dst.range(), byte, bytes), from, bytes);
  };
  const T value = static_cast<T>(reduced.value);
  const auto index = static_cast<Bits>(reduced.index);
  if (stored.value && stored.index) {
    store(at + (stored.index_first ? sizeof(T) : 0), &value, sizeof(T));
    store(at + (stored.index_first ? 0 : sizeof(T)), &index, sizeof(T));
  } else if (stored.value) {
    store(at, &value, sizeof(T));
  } else {
    store(at, &reduced.index, sizeof(reduced.index));
  }
}

template <typename T>
void WholeReduce(const char *name, const Site &site, const LocalTensor<T> &dst, const LocalTensor<T> &src,
                 const Lanes &mask, int64_t repeats, int64_t dst_stride, int64_t block_stride,
                 int64_t repeat_stride, Reduction reduction, const Stored &stored) {
  static_assert(std::is_same_v<T, half> || std::is_same_v<T, float>, "reductions take half and float");
  constexpr uint32_t kLanes = LanesOfRepeat(sizeof(T));
  ifa::sim::Instruction instruction(PIPE_V, name, site);
  const Repeats walked = RepeatsOf(instruction, mask, repeats, kLanes);
  const Operand in =
      CheckedOperand(instruction, "src", src.range(), sizeof(T), block_stride, repeat_stride, walked);
  const uint32_t unit = !stored.value ? sizeof(uint32_t) : (stored.index ? 2 : 1) * sizeof(T);
  instruction.Align(dst.range(), unit, "dst");
  instruction.Require(dst_stride >= 0 && dst_stride <= 65535, ifa::sim::Check::kVectorRange,
                      "dstRepStride is not from 0 to 65535");
  float values[kMostLanes];
  for (uint32_t repeat = 0; repeat < walked.count(); ++repeat) {
    LoadLanes<T>(instruction, in, repeat, walked.lanes(repeat), values);
    StoreReduced(instruction, dst, static_cast<uint32_t>(repeat * dst_stride * unit),
                 reduction(values, walked.lanes(repeat), kLanes), stored);
  }
  FinishVector(instruction, walked, instruction.core().machine().options().costs.reduce_repeat);
}

constexpr Stored StoredFor(ReduceOrder order) {
  return {order != ReduceOrder::ORDER_ONLY_INDEX, order != ReduceOrder::ORDER_ONLY_VALUE,
          order == ReduceOrder::ORDER_INDEX_VALUE};
}

}  // namespace lanes

/// The sum of every repeat; dst_stride in elements.
template <typename T>
void WholeReduceSum(const LocalTensor<T> &dst, const LocalTensor<T> &src, Lanes mask, int64_t repeats,
                    int64_t dst_stride, int64_t block_stride, int64_t repeat_stride,
                    Site site = Site::Here()) {
  lanes::WholeReduce("WholeReduceSum", site, dst, src, mask, repeats, dst_stride, block_stride, repeat_stride,
                     lanes::Sum, {true, false, false});
}

/// The maximum of every repeat, its lane, or both; dst_stride in units of what is stored.
template <typename T>
void WholeReduceMax(const LocalTensor<T> &dst, const LocalTensor<T> &src, Lanes mask, int64_t repeats,
                    int64_t dst_stride, int64_t block_stride, int64_t repeat_stride,
                    ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX, Site site = Site::Here()) {
  lanes::WholeReduce("WholeReduceMax", site, dst, src, mask, repeats, dst_stride, block_stride, repeat_stride,
                     lanes::Maximum, lanes::StoredFor(order));
}

}  // namespace AscendC
