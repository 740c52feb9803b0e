// Copies between global memory and the memories of a core, and within the unified buffer.
#pragma once

#include "ascendc/tensors.h"

namespace AscendC {

/// In blocks of 32 bytes; strides are the gaps between the end of one burst and the start of the next.
struct DataCopyParams {
  int64_t blockCount = 1, blockLen = 0, srcStride = 0, dstStride = 0;

  DataCopyParams() = default;
  DataCopyParams(int64_t count, int64_t length, int64_t src_gap, int64_t dst_gap)
      : blockCount(count), blockLen(length), srcStride(src_gap), dstStride(dst_gap) {}
};

/// The length in bytes; the gap is in bytes on the side of global memory, in blocks of 32 bytes on the other.
struct DataCopyExtParams {
  int64_t blockCount = 1, blockLen = 0, srcStride = 0, dstStride = 0, rsv = 0;

  DataCopyExtParams() = default;
  DataCopyExtParams(int64_t count, int64_t length, int64_t src_gap, int64_t dst_gap, int64_t reserved)
      : blockCount(count), blockLen(length), srcStride(src_gap), dstStride(dst_gap), rsv(reserved) {}
};

template <typename T>
struct DataCopyPadExtParams {
  bool isPad = false;
  int64_t leftPadding = 0, rightPadding = 0;  // elements
  T paddingValue = 0;

  DataCopyPadExtParams() = default;
  DataCopyPadExtParams(bool is_pad, int64_t left, int64_t right, T value)
      : isPad(is_pad), leftPadding(left), rightPadding(right), paddingValue(value) {}
};

struct Nd2NzParams {
  int64_t ndNum = 0, nValue = 0, dValue = 0, srcNdMatrixStride = 0, srcDValue = 0, dstNzC0Stride = 0,
          dstNzNStride = 0, dstNzMatrixStride = 0;

  Nd2NzParams() = default;
  Nd2NzParams(int64_t matrices, int64_t rows, int64_t columns, int64_t src_matrix, int64_t src_row,
              int64_t dst_c0, int64_t dst_n, int64_t dst_matrix)
      : ndNum(matrices),
        nValue(rows),
        dValue(columns),
        srcNdMatrixStride(src_matrix),
        srcDValue(src_row),
        dstNzC0Stride(dst_c0),
        dstNzNStride(dst_n),
        dstNzMatrixStride(dst_matrix) {}
};

namespace copies {

/// Bursts of `bytes` from and to addresses that advance by their pitches, all in bytes.
struct Bursts {
  int64_t count;
  int64_t bytes;
  int64_t src_pitch;
  int64_t dst_pitch;
};

/// What is put around each burst of a copy that pads.
struct Padding {
  uint32_t left = 0;            ///< bytes
  uint32_t right = 0;           ///< bytes, up to the end of the last block
  const void *value = nullptr;  ///< of one element; without it the first element of the burst
  uint32_t element_bytes = 0;
};

void FromGlobal(const Site &site, const char *name, const ifa::sim::LocalRange &dst,
                const ifa::sim::GlobalRange &src, const Bursts &bursts, const Padding &padding);
void ToGlobal(const Site &site, const char *name, const ifa::sim::GlobalRange &dst,
              const ifa::sim::LocalRange &src, const Bursts &bursts);
void WithinCore(const Site &site, const ifa::sim::LocalRange &dst, const ifa::sim::LocalRange &src,
                const Bursts &bursts);
void NdToNz(const Site &site, const ifa::sim::LocalRange &dst, const ifa::sim::GlobalRange &src,
            const Nd2NzParams &shape, uint32_t element_bytes);

/// The bursts of a copy in blocks of 32 bytes, or of `bytes` in one.
Bursts OfBlocks(const Site &site, const DataCopyParams &params);
Bursts OfBytes(const Site &site, int64_t bytes);
/// The bursts of a copy that may end within a block; `global_gap` in bytes, `local_gap` in blocks.
Bursts OfPadded(const Site &site, const DataCopyExtParams &params, bool to_global, uint32_t padding_bytes);

}  // namespace copies

template <typename T>
void DataCopy(const LocalTensor<T> &dst, const GlobalTensor<T> &src, const DataCopyParams &params,
              Site site = Site::Here()) {
  copies::FromGlobal(site, "DataCopy", dst.range(), src.range(), copies::OfBlocks(site, params), {});
}
template <typename T>
void DataCopy(const LocalTensor<T> &dst, const GlobalTensor<T> &src, uint32_t count,
              Site site = Site::Here()) {
  copies::FromGlobal(site, "DataCopy", dst.range(), src.range(),
                     copies::OfBytes(site, int64_t{count} * sizeof(T)), {});
}
template <typename T>
void DataCopy(const GlobalTensor<T> &dst, const LocalTensor<T> &src, const DataCopyParams &params,
              Site site = Site::Here()) {
  copies::ToGlobal(site, "DataCopy", dst.range(), src.range(), copies::OfBlocks(site, params));
}
template <typename T>
void DataCopy(const GlobalTensor<T> &dst, const LocalTensor<T> &src, uint32_t count,
              Site site = Site::Here()) {
  copies::ToGlobal(site, "DataCopy", dst.range(), src.range(),
                   copies::OfBytes(site, int64_t{count} * sizeof(T)));
}
template <typename T>
void DataCopy(const LocalTensor<T> &dst, const LocalTensor<T> &src, const DataCopyParams &params,
              Site site = Site::Here()) {
  copies::WithinCore(site, dst.range(), src.range(), copies::OfBlocks(site, params));
}
template <typename T>
void DataCopy(const LocalTensor<T> &dst, const LocalTensor<T> &src, uint32_t count,
              Site site = Site::Here()) {
  copies::WithinCore(site, dst.range(), src.range(), copies::OfBytes(site, int64_t{count} * sizeof(T)));
}

/// From rows in global memory to fractals in L1: columns in groups of 32 bytes, each group with all its rows.
/// The last group is filled with zeros; rows beyond nValue are left as they are.
template <typename T>
void DataCopy(const LocalTensor<T> &dst, const GlobalTensor<T> &src, const Nd2NzParams &shape,
              Site site = Site::Here()) {
  copies::NdToNz(site, dst.range(), src.range(), shape, sizeof(T));
}

/// Each burst starts on a block; what is left of its last block is filled.
template <typename T>
void DataCopyPad(const LocalTensor<T> &dst, const GlobalTensor<T> &src, const DataCopyExtParams &params,
                 const DataCopyPadExtParams<T> &pad, Site site = Site::Here()) {
  auto &core = ifa::sim::Core::Current();
  core.Require(core.kind() == ifa::sim::CoreKind::kVector, ifa::sim::Check::kWrongCore, site,
               "DataCopyPad is of the vector core");
  const int64_t most = ifa::sim::kBlockBytes / sizeof(T);
  core.Require(
      pad.leftPadding >= 0 && pad.rightPadding >= 0 && pad.leftPadding <= most && pad.rightPadding <= most,
      ifa::sim::Check::kCopyRange, site, "the padding of DataCopyPad is more than 32 bytes");
  core.Require(params.blockLen % sizeof(T) == 0, ifa::sim::Check::kCopyRange, site,
               "blockLen of DataCopyPad is not a multiple of the element");
  const auto bytes = static_cast<uint32_t>((pad.leftPadding + pad.rightPadding) * sizeof(T));
  const auto left = static_cast<uint32_t>(pad.leftPadding * sizeof(T));
  const copies::Bursts bursts = copies::OfPadded(site, params, false, bytes);
  copies::FromGlobal(site, "DataCopyPad", dst.range(), src.range(), bursts,
                     {left, static_cast<uint32_t>(-(left + bursts.bytes) & (ifa::sim::kBlockBytes - 1)),
                      pad.isPad ? &pad.paddingValue : nullptr, sizeof(T)});
}

/// Only the bytes of the bursts are written.
template <typename T>
void DataCopyPad(const GlobalTensor<T> &dst, const LocalTensor<T> &src, const DataCopyExtParams &params,
                 Site site = Site::Here()) {
  auto &core = ifa::sim::Core::Current();
  core.Require(core.kind() == ifa::sim::CoreKind::kVector, ifa::sim::Check::kWrongCore, site,
               "DataCopyPad is of the vector core");
  copies::ToGlobal(site, "DataCopyPad", dst.range(), src.range(), copies::OfPadded(site, params, true, 0));
}

}  // namespace AscendC
