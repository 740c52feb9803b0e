// Elementwise arithmetic of the vector unit. Each operation comes as on the device: with lanes, repeats and
// strides, or for the first `count` elements.
#pragma once

#include <cmath>
#include <limits>

#include "ascendc/vector_lanes.h"

namespace AscendC {
namespace lanes {

// A slow operation takes more cycles for a repeat.
template <bool is_slow>
double CyclesOfRepeat() {
  return is_slow ? ifa::sim::Core::Current().machine().options().costs.slow_repeat : 1;
}

struct Add {
  static constexpr bool kIsSlow = false;
  template <typename W>
  W operator()(W, W a, W b) const {
    return a + b;
  }
};
struct Sub {
  static constexpr bool kIsSlow = false;
  template <typename W>
  W operator()(W, W a, W b) const {
    return a - b;
  }
};
struct Mul {
  static constexpr bool kIsSlow = false;
  template <typename W>
  W operator()(W, W a, W b) const {
    return a * b;
  }
};
struct Div {
  static constexpr bool kIsSlow = true;
  float operator()(float, float a, float b) const { return a / b; }
};
struct Max {
  static constexpr bool kIsSlow = false;
  template <typename W>
  W operator()(W, W a, W b) const {
    return a > b ? a : b;
  }
};
struct Min {
  static constexpr bool kIsSlow = false;
  template <typename W>
  W operator()(W, W a, W b) const {
    return a < b ? a : b;
  }
};
struct And {
  static constexpr bool kIsSlow = false;
  int32_t operator()(int32_t, int32_t a, int32_t b) const { return a & b; }
};
struct Or {
  static constexpr bool kIsSlow = false;
  int32_t operator()(int32_t, int32_t a, int32_t b) const { return a | b; }
};
struct Exp {
  static constexpr bool kIsSlow = true;
  float operator()(float, float a, float) const { return std::exp(a); }
};
struct Abs {
  static constexpr bool kIsSlow = false;
  float operator()(float, float a, float) const { return std::fabs(a); }
};

template <typename T>
constexpr bool kIsFloat = std::is_same_v<T, half> || std::is_same_v<T, float>;
template <typename T>
constexpr bool kIsNumber = kIsFloat<T> || std::is_same_v<T, int16_t> || std::is_same_v<T, int32_t>;

template <typename T, typename Operation>
void Binary(const char *name, const Site &site, const LocalTensor<T> &dst, const LocalTensor<T> &src0,
            const LocalTensor<T> &src1, const Lanes &lanes, int64_t repeats,
            const BinaryRepeatParams &strides, Operation operation) {
  ifa::sim::Instruction instruction(PIPE_V, name, site);
  const Repeats walked = RepeatsOf(instruction, lanes, repeats, LanesOfRepeat(sizeof(T)));
  Elementwise<T, T, Destination::kWritten, 2>(
      instruction, walked, {dst.range(), strides.dstBlkStride, strides.dstRepStride},
      {Source{src0.range(), strides.src0BlkStride, strides.src0RepStride},
       Source{src1.range(), strides.src1BlkStride, strides.src1RepStride}},
      CyclesOfRepeat<Operation::kIsSlow>(), operation);
}

template <typename T, typename Operation>
void Binary(const char *name, const Site &site, const LocalTensor<T> &dst, const LocalTensor<T> &src0,
            const LocalTensor<T> &src1, int64_t count, Operation operation) {
  ifa::sim::Instruction instruction(PIPE_V, name, site);
  const Repeats walked = RepeatsOf(instruction, count, LanesOfRepeat(sizeof(T)));
  Elementwise<T, T, Destination::kWritten, 2>(instruction, walked, {dst.range(), 1, 8},
                                              {Source{src0.range(), 1, 8}, Source{src1.range(), 1, 8}},
                                              CyclesOfRepeat<Operation::kIsSlow>(), operation);
}

template <typename T, typename Operation>
void Unary(const char *name, const Site &site, const LocalTensor<T> &dst, const LocalTensor<T> &src,
           const Lanes &lanes, int64_t repeats, const UnaryRepeatParams &strides, Operation operation) {
  ifa::sim::Instruction instruction(PIPE_V, name, site);
  const Repeats walked = RepeatsOf(instruction, lanes, repeats, LanesOfRepeat(sizeof(T)));
  Elementwise<T, T, Destination::kWritten, 1>(
      instruction, walked, {dst.range(), strides.dstBlkStride, strides.dstRepStride},
      {Source{src.range(), strides.srcBlkStride, strides.srcRepStride}}, CyclesOfRepeat<Operation::kIsSlow>(),
      operation);
}

template <typename T, typename Operation>
void Unary(const char *name, const Site &site, const LocalTensor<T> &dst, const LocalTensor<T> &src,
           int64_t count, Operation operation) {
  ifa::sim::Instruction instruction(PIPE_V, name, site);
  const Repeats walked = RepeatsOf(instruction, count, LanesOfRepeat(sizeof(T)));
  Elementwise<T, T, Destination::kWritten, 1>(instruction, walked, {dst.range(), 1, 8},
                                              {Source{src.range(), 1, 8}},
                                              CyclesOfRepeat<Operation::kIsSlow>(), operation);
}

// An operation with its second operand fixed.
template <typename Operation, typename W>
struct WithScalar {
  static constexpr bool kIsSlow = Operation::kIsSlow;
  W scalar;
  W operator()(W old, W a, W) const { return Operation()(old, a, scalar); }
};

}  // namespace lanes

// One line per operation below; the arguments are those of the device.
#define IFA_BINARY(Name, kAllowed)                                                                         \
  template <typename T>                                                                                    \
  void Name(const LocalTensor<T> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1, Lanes mask, \
            int64_t repeats, const BinaryRepeatParams &strides, Site site = Site::Here()) {                \
    static_assert(kAllowed<T>, #Name " does not take this type");                                          \
    lanes::Binary(#Name, site, dst, src0, src1, mask, repeats, strides, lanes::Name());                    \
  }                                                                                                        \
  template <typename T>                                                                                    \
  void Name(const LocalTensor<T> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1,             \
            int64_t count, Site site = Site::Here()) {                                                     \
    static_assert(kAllowed<T>, #Name " does not take this type");                                          \
    lanes::Binary(#Name, site, dst, src0, src1, count, lanes::Name());                                     \
  }

#define IFA_UNARY(Name)                                                                                      \
  template <typename T>                                                                                      \
  void Name(const LocalTensor<T> &dst, const LocalTensor<T> &src, Lanes mask, int64_t repeats,               \
            const UnaryRepeatParams &strides, Site site = Site::Here()) {                                    \
    static_assert(lanes::kIsFloat<T>, #Name " does not take this type");                                     \
    lanes::Unary(#Name, site, dst, src, mask, repeats, strides, lanes::Name());                              \
  }                                                                                                          \
  template <typename T>                                                                                      \
  void Name(const LocalTensor<T> &dst, const LocalTensor<T> &src, int64_t count, Site site = Site::Here()) { \
    static_assert(lanes::kIsFloat<T>, #Name " does not take this type");                                     \
    lanes::Unary(#Name, site, dst, src, count, lanes::Name());                                               \
  }

#define IFA_SCALAR(Name, Operation)                                                                      \
  template <typename T>                                                                                  \
  void Name(const LocalTensor<T> &dst, const LocalTensor<T> &src, T scalar, Lanes mask, int64_t repeats, \
            const UnaryRepeatParams &strides, Site site = Site::Here()) {                                \
    static_assert(lanes::kIsNumber<T>, #Name " does not take this type");                                \
    lanes::Unary(#Name, site, dst, src, mask, repeats, strides,                                          \
                 lanes::WithScalar<lanes::Operation, Wide<T>>{static_cast<Wide<T>>(scalar)});            \
  }                                                                                                      \
  template <typename T>                                                                                  \
  void Name(const LocalTensor<T> &dst, const LocalTensor<T> &src, T scalar, int64_t count,               \
            Site site = Site::Here()) {                                                                  \
    static_assert(lanes::kIsNumber<T>, #Name " does not take this type");                                \
    lanes::Unary(#Name, site, dst, src, count,                                                           \
                 lanes::WithScalar<lanes::Operation, Wide<T>>{static_cast<Wide<T>>(scalar)});            \
  }

namespace lanes {
template <typename T>
constexpr bool kIsBits = std::is_same_v<T, int16_t> || std::is_same_v<T, uint16_t>;
}

IFA_BINARY(Add, lanes::kIsNumber)
IFA_BINARY(Sub, lanes::kIsNumber)
IFA_BINARY(Mul, lanes::kIsNumber)
IFA_BINARY(Div, lanes::kIsFloat)
IFA_BINARY(Max, lanes::kIsNumber)
IFA_BINARY(Min, lanes::kIsNumber)
IFA_BINARY(And, lanes::kIsBits)
IFA_BINARY(Or, lanes::kIsBits)
IFA_UNARY(Exp)
IFA_UNARY(Abs)
IFA_SCALAR(Adds, Add)
IFA_SCALAR(Muls, Mul)
IFA_SCALAR(Maxs, Max)
IFA_SCALAR(Mins, Min)

#undef IFA_BINARY
#undef IFA_UNARY
#undef IFA_SCALAR

namespace lanes {

template <typename T, typename U>
void MulAdd(ifa::sim::Instruction &instruction, const Repeats &walked, const LocalTensor<T> &dst,
            const LocalTensor<U> &src0, const LocalTensor<U> &src1, const BinaryRepeatParams &strides) {
  static_assert(
      (std::is_same_v<T, U> && kIsFloat<T>) || (std::is_same_v<T, float> && std::is_same_v<U, half>),
      "MulAddDst does not take these types");
  Elementwise<T, U, Destination::kAccumulated, 2>(
      instruction, walked, {dst.range(), strides.dstBlkStride, strides.dstRepStride},
      {Source{src0.range(), strides.src0BlkStride, strides.src0RepStride},
       Source{src1.range(), strides.src1BlkStride, strides.src1RepStride}},
      instruction.core().machine().options().costs.accumulate_repeat,
      [](float old, float a, float b) { return old + a * b; });
}

}  // namespace lanes

/// dst += src0 * src1.
template <typename T, typename U>
void MulAddDst(const LocalTensor<T> &dst, const LocalTensor<U> &src0, const LocalTensor<U> &src1, Lanes mask,
               int64_t repeats, const BinaryRepeatParams &strides, Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "MulAddDst", site);
  lanes::MulAdd(instruction, RepeatsOf(instruction, mask, repeats, LanesOfRepeat(sizeof(T))), dst, src0, src1,
                strides);
}

template <typename T, typename U>
void MulAddDst(const LocalTensor<T> &dst, const LocalTensor<U> &src0, const LocalTensor<U> &src1,
               int64_t count, Site site = Site::Here()) {
  ifa::sim::Instruction instruction(PIPE_V, "MulAddDst", site);
  constexpr uint32_t kLanes = LanesOfRepeat(sizeof(T));
  const int32_t source = DenseStride(sizeof(U), kLanes);
  lanes::MulAdd(instruction, RepeatsOf(instruction, count, kLanes), dst, src0, src1,
                {1, 1, 1, 8, source, source});
}

template <typename T>
void Duplicate(const LocalTensor<T> &dst, T scalar, Lanes mask, int64_t repeats, int64_t block_stride,
               int64_t repeat_stride, Site site = Site::Here()) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Duplicate takes types of 16 or 32 bits");
  ifa::sim::Instruction instruction(PIPE_V, "Duplicate", site);
  const auto value = static_cast<Wide<T>>(scalar);
  Elementwise<T, T, Destination::kWritten, 0>(
      instruction, RepeatsOf(instruction, mask, repeats, LanesOfRepeat(sizeof(T))),
      {dst.range(), block_stride, repeat_stride}, {}, 1, [value](auto, auto, auto) { return value; });
}

template <typename T>
void Duplicate(const LocalTensor<T> &dst, T scalar, int64_t count, Site site = Site::Here()) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Duplicate takes types of 16 or 32 bits");
  ifa::sim::Instruction instruction(PIPE_V, "Duplicate", site);
  const auto value = static_cast<Wide<T>>(scalar);
  Elementwise<T, T, Destination::kWritten, 0>(
      instruction, RepeatsOf(instruction, count, LanesOfRepeat(sizeof(T))), {dst.range(), 1, 8}, {}, 1,
      [value](auto, auto, auto) { return value; });
}

struct BrcbRepeatParams {
  int32_t dstBlkStride = 1, dstRepStride = 8;

  BrcbRepeatParams() = default;
  BrcbRepeatParams(int32_t block, int32_t repeat) : dstBlkStride(block), dstRepStride(repeat) {}
};

/// Every repeat takes 8 elements of src and fills one block of dst with each.
template <typename T>
void Brcb(const LocalTensor<T> &dst, const LocalTensor<T> &src, int64_t repeats,
          const BrcbRepeatParams &strides, Site site = Site::Here()) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Brcb takes types of 16 or 32 bits");
  ifa::sim::Instruction instruction(PIPE_V, "Brcb", site);
  instruction.Require(repeats >= 0 && repeats <= 255, ifa::sim::Check::kVectorRange,
                      "repeatTime is not from 0 to 255");
  instruction.Align(src.range(), ifa::sim::kBlockBytes, "src");
  const LaneBits all = sizeof(T) == 2 ? LaneBits{~0ull, ~0ull} : LaneBits{~0ull, 0};
  const Repeats walked{static_cast<uint32_t>(repeats), all, {}};
  const Operand out = CheckedOperand(instruction, "dst", dst.range(), sizeof(T), strides.dstBlkStride,
                                     strides.dstRepStride, walked);
  for (uint32_t repeat = 0; repeat < walked.count(); ++repeat) {
    T values[kBlocksOfRepeat];
    std::memcpy(
        values,
        instruction.Touch(ifa::sim::Access::kRead, src.range(), repeat * sizeof(values), sizeof(values)),
        sizeof(values));
    Wide<T> filled[kMostLanes];
    for (uint32_t lane = 0; lane < kMostLanes; ++lane) {
      filled[lane] = static_cast<Wide<T>>(values[lane / out.lanes_of_block() % kBlocksOfRepeat]);
    }
    StoreLanes<T>(instruction, out, repeat, all, filled);
  }
  FinishVector(instruction, walked, 1);
}

}  // namespace AscendC
