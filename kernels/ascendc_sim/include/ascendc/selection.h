// Comparisons, whose results are bits, and choices by such bits.
#pragma once

#include <algorithm>

#include "ascendc/vector_lanes.h"

namespace AscendC {
namespace lanes {

inline bool Compares(CMPMODE mode, float a, float b) {
  switch (mode) {
    case CMPMODE::LT:
      return a < b;
    case CMPMODE::GT:
      return a > b;
    case CMPMODE::EQ:
      return a == b;
    case CMPMODE::LE:
      return a <= b;
    case CMPMODE::GE:
      return a >= b;
    case CMPMODE::NE:
      return a != b;
  }
  return false;
}

// `right` gives the second value of a lane.
template <typename T, typename U, typename Right>
void CompareFirst(ifa::sim::Instruction &instruction, const LocalTensor<U> &dst, const LocalTensor<T> &src0,
                  CMPMODE mode, int64_t count, Right right) {
  static_assert(sizeof(U) == 1 && (std::is_same_v<T, half> || std::is_same_v<T, float>),
                "comparisons take half and float, and give bytes");
  constexpr uint32_t kLanes = LanesOfRepeat(sizeof(T));
  instruction.Require(count > 0 && count % kLanes == 0, ifa::sim::Check::kVectorRange,
                      "count is not a multiple of the elements in 256 bytes");
  instruction.Align(dst.range(), ifa::sim::kBlockBytes, "dst");
  const Repeats walked = RepeatsOf(instruction, count, kLanes);
  const Operand in = CheckedOperand(instruction, "src0", src0.range(), sizeof(T), 1, 8, walked);
  float a[kMostLanes];
  float b[kMostLanes];
  for (uint32_t repeat = 0; repeat < walked.count(); ++repeat) {
    LoadLanes<T>(instruction, in, repeat, walked.mask, a);
    right(repeat, walked, b);
    uint8_t bits[kMostLanes / 8] = {};
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      bits[lane / 8] = static_cast<uint8_t>(bits[lane / 8] | Compares(mode, a[lane], b[lane]) << lane % 8);
    }
    std::memcpy(instruction.Touch(ifa::sim::Access::kWrite, dst.range(), repeat * kLanes / 8, kLanes / 8),
                bits, kLanes / 8);
  }
  FinishVector(instruction, walked, 1);
}

// Mode 0 takes the bits of the first repeat for all of them.
template <typename T, typename U, typename Right>
void SelectLanes(ifa::sim::Instruction &instruction, const LocalTensor<T> &dst, const LocalTensor<U> &bits,
                 const LocalTensor<T> &src0, SELMODE mode, const Repeats &walked,
                 const BinaryRepeatParams &strides, Right right) {
  static_assert(std::is_same_v<T, half> || std::is_same_v<T, float>, "Select takes half and float");
  constexpr uint32_t kBytes = LanesOfRepeat(sizeof(T)) / 8;
  instruction.Align(bits.range(), ifa::sim::kBlockBytes, "selMask");
  const Operand out = CheckedOperand(instruction, "dst", dst.range(), sizeof(T), strides.dstBlkStride,
                                     strides.dstRepStride, walked);
  const Operand in = CheckedOperand(instruction, "src0", src0.range(), sizeof(T), strides.src0BlkStride,
                                    strides.src0RepStride, walked);
  CheckOverlap(instruction, out, in, walked);
  float a[kMostLanes];
  float b[kMostLanes];
  for (uint32_t repeat = 0; repeat < walked.count(); ++repeat) {
    const LaneBits &active = walked.lanes(repeat);
    const uint8_t *chosen =
        instruction.Touch(ifa::sim::Access::kRead, bits.range(),
                          mode == SELMODE::VSEL_CMPMASK_SPR ? 0 : repeat * kBytes, kBytes);
    LoadLanes<T>(instruction, in, repeat, active, a);
    right(repeat, walked, b);
    for (uint32_t lane = 0; lane < LanesOfRepeat(sizeof(T)); ++lane) {
      a[lane] = (chosen[lane / 8] >> lane % 8 & 1) != 0 ? a[lane] : b[lane];
    }
    StoreLanes<T>(instruction, out, repeat, active, a);
  }
  FinishVector(instruction, walked, 1);
}

// The second operand of a lane: of a tensor, or the same for all.
template <typename T>
auto TensorLanes(ifa::sim::Instruction &instruction, const LocalTensor<T> &src, int64_t block_stride,
                 int64_t repeat_stride) {
  return [&instruction, &src, block_stride, repeat_stride](uint32_t repeat, const Repeats &walked,
                                                           float *values) {
    const Operand in =
        CheckedOperand(instruction, "src1", src.range(), sizeof(T), block_stride, repeat_stride, walked);
    LoadLanes<T>(instruction, in, repeat, walked.lanes(repeat), values);
  };
}
inline auto ScalarLanes(float scalar) {
  return [scalar](uint32_t, const Repeats &, float *values) { std::fill_n(values, kMostLanes, scalar); };
}

}  // namespace lanes

/// One bit for each of the first `count` elements, the lowest first.
template <typename T, typename U>
void Compare(const LocalTensor<U> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1, CMPMODE mode,
             int64_t count, Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "Compare", site);
  lanes::CompareFirst(instruction, dst, src0, mode, count, lanes::TensorLanes(instruction, src1, 1, 8));
}

template <typename T, typename U>
void CompareScalar(const LocalTensor<U> &dst, const LocalTensor<T> &src0, T src1, CMPMODE mode, int64_t count,
                   Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "CompareScalar", site);
  lanes::CompareFirst(instruction, dst, src0, mode, count, lanes::ScalarLanes(src1));
}

/// Where the bit is 1 the element of src0, else that of src1.
template <typename T, typename U>
void Select(const LocalTensor<T> &dst, const LocalTensor<U> &bits, const LocalTensor<T> &src0,
            const LocalTensor<T> &src1, SELMODE mode, int64_t count, Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "Select", site);
  lanes::SelectLanes(instruction, dst, bits, src0, mode,
                     RepeatsOf(instruction, count, LanesOfRepeat(sizeof(T))), {},
                     lanes::TensorLanes(instruction, src1, 1, 8));
}
template <typename T, typename U, bool isSetMask = true>
void Select(const LocalTensor<T> &dst, const LocalTensor<U> &bits, const LocalTensor<T> &src0,
            const LocalTensor<T> &src1, SELMODE mode, Lanes mask, int64_t repeats,
            const BinaryRepeatParams &strides, Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "Select", site);
  lanes::SelectLanes(instruction, dst, bits, src0, mode,
                     RepeatsOf(instruction, mask, isSetMask, repeats, LanesOfRepeat(sizeof(T))), strides,
                     lanes::TensorLanes(instruction, src1, strides.src1BlkStride, strides.src1RepStride));
}

/// With a scalar in the place of src1, which takes VSEL_TENSOR_SCALAR_MODE.
template <typename T, typename U>
void Select(const LocalTensor<T> &dst, const LocalTensor<U> &bits, const LocalTensor<T> &src0, T src1,
            SELMODE mode, int64_t count, Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "Select", site);
  instruction.Require(mode == SELMODE::VSEL_TENSOR_SCALAR_MODE, ifa::sim::Check::kVectorRange,
                      "Select with a scalar takes VSEL_TENSOR_SCALAR_MODE");
  lanes::SelectLanes(instruction, dst, bits, src0, mode,
                     RepeatsOf(instruction, count, LanesOfRepeat(sizeof(T))), {}, lanes::ScalarLanes(src1));
}
template <typename T, typename U, bool isSetMask = true>
void Select(const LocalTensor<T> &dst, const LocalTensor<U> &bits, const LocalTensor<T> &src0, T src1,
            SELMODE mode, Lanes mask, int64_t repeats, const BinaryRepeatParams &strides,
            Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "Select", site);
  instruction.Require(mode == SELMODE::VSEL_TENSOR_SCALAR_MODE, ifa::sim::Check::kVectorRange,
                      "Select with a scalar takes VSEL_TENSOR_SCALAR_MODE");
  lanes::SelectLanes(instruction, dst, bits, src0, mode,
                     RepeatsOf(instruction, mask, isSetMask, repeats, LanesOfRepeat(sizeof(T))), strides,
                     lanes::ScalarLanes(src1));
}

}  // namespace AscendC
