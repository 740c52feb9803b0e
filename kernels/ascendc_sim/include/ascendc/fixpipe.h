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
  QuantMode_t quantPre = QuantMode_t::NoQuant;
  uint64_t deqScalar = 0;
  int64_t ndNum = 1, srcNdStride = 0, dstNdStride = 0;
  bool reluEn = false;
  int64_t unitFlag = 0;
  bool isChannelSplit = false;

  FixpipeParamsV220() = default;
  FixpipeParamsV220(int64_t columns, int64_t rows, int64_t src_stride, int64_t dst_stride, bool relu)
      : nSize(columns), mSize(rows), srcStride(src_stride), dstStride(dst_stride), reluEn(relu) {}
};

namespace cube {

/// Stores `count` floats as numbers of the result.
using Narrow = void (*)(uint8_t *to, const float *from, uint32_t count);

void ToRows(const Site &site, const ifa::sim::GlobalRange &dst, const ifa::sim::LocalRange &src,
            const FixpipeParamsV220 &params, uint32_t element_bytes, Narrow narrow);

}  // namespace cube

template <typename T, typename U, const FixpipeConfig &config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T> &dst, const LocalTensor<U> &src, const FixpipeParamsV220 &params,
             Site site = Site::Here()) {
  static_assert(std::is_same_v<U, float> && config.format == CO2Layout::ROW_MAJOR,
                "this emulator knows Fixpipe of float to rows in global memory");
  constexpr QuantMode_t kMode = std::is_same_v<T, half>         ? QuantMode_t::F322F16
                                : std::is_same_v<T, bfloat16_t> ? QuantMode_t::F322BF16
                                                                : QuantMode_t::NoQuant;
  ifa::sim::Core::Current().Require(params.quantPre == kMode, ifa::sim::Check::kCastMode, site,
                                    "quantPre of Fixpipe does not fit the type of dst");
  cube::ToRows(site, dst.range(), src.range(), params, sizeof(T),
               [](uint8_t *to, const float *from, uint32_t count) {
                 for (uint32_t i = 0; i < count; ++i) {
                   const T value = static_cast<T>(from[i]);
                   std::memcpy(to + i * sizeof(T), &value, sizeof(T));
                 }
               });
}

}  // namespace AscendC
