// Loads into the cube unit's memories, and its matrix product. Layouts, for numbers of 16 bits: L0A holds
// fractals [m / 16][k / 16] of [16 m][16 k], L0B [k / 16][n / 16] of [16 n][16 k], L0C [n / 16][m / 16] of
// [16 m][16 n] in float.
#pragma once

#include "ascendc/tensors.h"

namespace AscendC {

struct LoadData2DParams {
  int64_t startIndex = 0, repeatTimes = 0, srcStride = 0, sid = 0, dstGap = 0;
  bool ifTranspose = false;
  int64_t addrMode = 0;

  LoadData2DParams() = default;
  LoadData2DParams(int64_t start, int64_t repeats, int64_t src_stride, int64_t stream, int64_t dst_gap,
                   bool transpose, int64_t address_mode)
      : startIndex(start),
        repeatTimes(repeats),
        srcStride(src_stride),
        sid(stream),
        dstGap(dst_gap),
        ifTranspose(transpose),
        addrMode(address_mode) {}
};

struct MmadParams {
  int64_t m = 0, n = 0, k = 0;
  int64_t unitFlag = 0;
  bool cmatrixSource = false;
  bool cmatrixInitVal = true;

  MmadParams() = default;
  MmadParams(int64_t rows, int64_t columns, int64_t depth, int64_t unit_flag, bool source, bool initial)
      : m(rows), n(columns), k(depth), unitFlag(unit_flag), cmatrixSource(source), cmatrixInitVal(initial) {}
};

template <typename T>
struct InitConstValueParams {
  int64_t repeatTimes = 0, blockNum = 0, dstGap = 0;
  T initValue = 0;

  InitConstValueParams() = default;
  InitConstValueParams(int64_t repeats, int64_t blocks, int64_t gap, T value)
      : repeatTimes(repeats), blockNum(blocks), dstGap(gap), initValue(value) {}
};

namespace cube {

/// Numbers of 16 bits as floats.
using Widen = void (*)(float *to, const uint16_t *from, uint32_t count);
template <typename T>
void WidenAll(float *to, const uint16_t *from, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    to[i] = std::is_same_v<T, half> ? ifa::sim::HalfToFloat(from[i]) : ifa::sim::BfloatToFloat(from[i]);
  }
}

void LoadFractals(const Site &site, const ifa::sim::LocalRange &dst, const ifa::sim::LocalRange &src,
                  const LoadData2DParams &params);
void Multiply(const Site &site, const ifa::sim::LocalRange &dst, const ifa::sim::LocalRange &left,
              const ifa::sim::LocalRange &right, const MmadParams &params, Widen widen);
/// `pattern` is one block of 32 bytes.
void FillBlocks(const Site &site, const ifa::sim::LocalRange &dst, int64_t repeats, int64_t blocks,
                int64_t gap, const uint8_t *pattern);

template <typename T>
constexpr bool kIsNumber = std::is_same_v<T, half> || std::is_same_v<T, bfloat16_t>;

}  // namespace cube

/// Fractals of 512 bytes from L1 to L0A or L0B, each transposed or not; strides in fractals.
template <typename T>
void LoadData(const LocalTensor<T> &dst, const LocalTensor<T> &src, const LoadData2DParams &params,
              Site site = Site::Here()) {
  static_assert(sizeof(T) == 2, "LoadData takes numbers of 16 bits");
  cube::LoadFractals(site, dst.range(), src.range(), params);
}

/// dst = left x right, or dst += left x right with cmatrixInitVal = false; products and sums in float.
template <typename T>
void Mmad(const LocalTensor<float> &dst, const LocalTensor<T> &left, const LocalTensor<T> &right,
          const MmadParams &params, Site site = Site::Here()) {
  static_assert(cube::kIsNumber<T>, "Mmad takes half and bfloat16_t");
  cube::Multiply(site, dst.range(), left.range(), right.range(), params, cube::WidenAll<T>);
}

/// Fills blocks: of 32 bytes in L1, of 512 in L0A and L0B.
template <typename T>
void InitConstValue(const LocalTensor<T> &dst, const InitConstValueParams<T> &params,
                    Site site = Site::Here()) {
  T pattern[ifa::sim::kBlockBytes / sizeof(T)];
  for (T &element : pattern) {
    element = params.initValue;
  }
  cube::FillBlocks(site, dst.range(), params.repeatTimes, params.blockNum, params.dstGap,
                   reinterpret_cast<const uint8_t *>(pattern));
}

}  // namespace AscendC
