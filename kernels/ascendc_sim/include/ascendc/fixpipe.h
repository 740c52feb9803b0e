// From the cube unit's results to rows in global memory.
#pragma once

#include "ascendc/tensors.h"

namespace AscendC {

enum class CO2Layout : uint8_t { NZ, ROW_MAJOR, COLUMN_MAJOR };

struct FixpipeConfig {
  CO2Layout format;
};

inline constexpr FixpipeConfig CFG_ROW_MAJOR = {CO2Layout::ROW_MAJOR};

/// srcStride: between groups of 16 columns, in rows of 16 elements; dstStride: between rows, in elements.
struct FixpipeParamsV220 {
  int64_t nSize = 0, mSize = 0, srcStride = 0, dstStride = 0;
  int64_t ndNum = 1, srcNdStride = 0, dstNdStride = 0;
  bool reluEn = false;
  int64_t unitFlag = 0;
  bool isChannelSplit = false;

  FixpipeParamsV220() = default;
  FixpipeParamsV220(int64_t columns, int64_t rows, int64_t src_stride, int64_t dst_stride, bool relu)
      : nSize(columns), mSize(rows), srcStride(src_stride), dstStride(dst_stride), reluEn(relu) {}
};

namespace cube {

void ToRows(const Site &site, const ifa::sim::GlobalRange &dst, const ifa::sim::LocalRange &src,
            const FixpipeParamsV220 &params);

}  // namespace cube

template <typename T, typename U, const FixpipeConfig &config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T> &dst, const LocalTensor<U> &src, const FixpipeParamsV220 &params,
             Site site = Site::Here()) {
  static_assert(std::is_same_v<T, float> && std::is_same_v<U, float> && config.format == CO2Layout::ROW_MAJOR,
                "this emulator knows Fixpipe of float to rows of float in global memory");
  cube::ToRows(site, dst.range(), src.range(), params);
}

}  // namespace AscendC
