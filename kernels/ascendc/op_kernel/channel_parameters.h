// Scales and offsets of an int8 cache, as fp32 per channel whatever they are given as.
#pragma once

#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "memory_plan.h"
#include "pipe_order.h"

namespace ifa::ascendc {

/// Which half of the parameters.
constexpr uint32_t kOfKeys = 0;
constexpr uint32_t kOfValues = 1;

/// Zeros behind each row of a copy, which the default padding value is: bfloat16_t has no literals.
template <typename T>
__aicore__ inline AscendC::DataCopyPadExtParams<T> ZeroPadding(uint32_t elements) {
  AscendC::DataCopyPadExtParams<T> padding;
  padding.isPad = true;
  padding.rightPadding = static_cast<uint8_t>(elements);
  return padding;
}

/// @tparam T half or bfloat16_t, the query's type
template <typename T>
class ChannelParameters {
 public:
  /// @param parameters T [2] or [2][kvHeads * headSize]
  __aicore__ inline void Init(const DecodeTiling &tiling, GM_ADDR parameters) {
    tiling_ = &tiling;
    parameters_.SetGlobalBuffer(reinterpret_cast<__gm__ T *>(parameters));
  }

  /// Copies those of a KV head's channels, if each has its own.
  /// @param to [headSize rounded up to 16]
  __aicore__ inline void Load(const AscendC::LocalTensor<T> &to, uint32_t which, uint32_t head) {
    if (tiling_->antiquant == kParameterPerTensor) return;
    const uint32_t size = tiling_->headSize;
    AscendC::DataCopyPad(to, parameters_[(which * tiling_->kvHeads + head) * size],
                         AscendC::DataCopyExtParams(1, size * sizeof(T), 0, 0, 0),
                         ZeroPadding<T>(PaddedHeadSize(size) - size));
  }

  /// What Load() copied, or the tensor's one parameter, to each channel.
  /// @param to [headSize rounded up to 16]
  __aicore__ inline void Convert(const AscendC::LocalTensor<float> &to, const AscendC::LocalTensor<T> &from,
                                 uint32_t which) {
    const uint32_t width = PaddedHeadSize(tiling_->headSize);
    if (tiling_->antiquant == kParameterPerTensor) {
      AscendC::Duplicate(to, ToSingle(parameters_.GetValue(which)), static_cast<int32_t>(width));
    } else {
      AscendC::Cast(to, from, AscendC::RoundMode::CAST_NONE, width);
    }
    OrderVector();
  }

 private:
  // The scalar unit converts half itself.
  static __aicore__ inline float ToSingle(half value) { return static_cast<float>(value); }
  static __aicore__ inline float ToSingle(bfloat16_t value) { return AscendC::ToFloat(value); }

  const DecodeTiling *tiling_ = nullptr;
  AscendC::GlobalTensor<T> parameters_;
};

}  // namespace ifa::ascendc
