#include "ascendc/data_copy.h"

#include <algorithm>

#include "sim/machine.h"

namespace AscendC::copies {

using ifa::sim::Access;
using ifa::sim::Check;
using ifa::sim::Core;
using ifa::sim::GlobalRange;
using ifa::sim::Instruction;
using ifa::sim::kBlockBytes;
using ifa::sim::LocalRange;
using ifa::sim::Memory;
using ifa::sim::MemoryName;

namespace {

constexpr int64_t kMostBursts = 4095;
constexpr int64_t kMostBlocks = 65535;
constexpr int64_t kMostPaddedBytes = 2097151;  // 21 bits
constexpr int64_t kMostGap = 4294967295;

void RequireCopy(bool holds, const Site &site, const char *problem) {
  Core::Current().Require(holds, Check::kCopyRange, site, problem);
}

bool IsWithin(int64_t value, int64_t lowest, int64_t highest) { return value >= lowest && value <= highest; }

int64_t RoundUpToBlock(int64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes; }

// Ends a copy between global memory and `local`, at the slower of the rates of both sides.
void FinishGlobal(Instruction &copy, const GlobalRange &global, const char *local, int64_t bytes,
                  bool to_global, double local_rate) {
  auto &machine = copy.core().machine();
  const auto &costs = machine.options().costs;
  machine.result().bytes[to_global ? std::string(local) + " to global" : std::string("global to ") + local] +=
      static_cast<uint64_t>(bytes);
  const double rate =
      bytes == 0 ? local_rate : std::min(local_rate, machine.GlobalRate(*global.region, to_global));
  copy.Finish(costs.copy_start + static_cast<double>(bytes) / rate, costs.global_latency);
}

}  // namespace

Bursts OfBlocks(const Site &site, const DataCopyParams &params) {
  RequireCopy(IsWithin(params.blockCount, 1, kMostBursts), site,
              "blockCount of DataCopy is not from 1 to 4095");
  RequireCopy(IsWithin(params.blockLen, 1, kMostBlocks), site,
              "blockLen of DataCopy is not from 1 to 65535 blocks");
  RequireCopy(IsWithin(params.srcStride, 0, kMostBlocks) && IsWithin(params.dstStride, 0, kMostBlocks), site,
              "a stride of DataCopy is not from 0 to 65535 blocks");
  const int64_t bytes = params.blockLen * kBlockBytes;
  return {params.blockCount, bytes, bytes + params.srcStride * kBlockBytes,
          bytes + params.dstStride * kBlockBytes};
}

Bursts OfBytes(const Site &site, int64_t bytes) {
  RequireCopy(bytes % kBlockBytes == 0, site, "count of DataCopy is not a multiple of 32 bytes");
  RequireCopy(IsWithin(bytes / kBlockBytes, 1, kMostBlocks), site,
              "count of DataCopy is not from 1 to 65535 blocks");
  return {1, bytes, bytes, bytes};
}

Bursts OfPadded(const Site &site, const DataCopyExtParams &params, bool to_global, uint32_t padding_bytes) {
  RequireCopy(IsWithin(params.blockCount, 0, kMostBursts), site,
              "blockCount of DataCopyPad is not from 0 to 4095");
  RequireCopy(IsWithin(params.blockLen, 0, kMostPaddedBytes), site,
              "blockLen of DataCopyPad is not from 0 to 2097151 bytes");
  RequireCopy(IsWithin(params.srcStride, 0, kMostGap) && IsWithin(params.dstStride, 0, kMostGap), site,
              "a stride of DataCopyPad does not fit into 32 bits");
  const int64_t bytes = params.blockLen;
  const int64_t local_gap = (to_global ? params.srcStride : params.dstStride) * kBlockBytes;
  const int64_t local = RoundUpToBlock(bytes + padding_bytes) + local_gap;
  const int64_t global = bytes + (to_global ? params.dstStride : params.srcStride);
  return {bytes == 0 ? 0 : params.blockCount, bytes, to_global ? local : global, to_global ? global : local};
}

void FromGlobal(const Site &site, const char *name, const LocalRange &dst, const GlobalRange &src,
                const Bursts &bursts, const Padding &padding) {
  Instruction copy(PIPE_MTE2, name, site);
  copy.Require(dst.memory == Memory::kUb || dst.memory == Memory::kL1, Check::kCopyRange,
               "a copy from global memory goes to UB or L1");
  copy.Align(dst, kBlockBytes, "dst");
  for (int64_t burst = 0; burst < bursts.count; ++burst) {
    const uint8_t *from = copy.Touch(Access::kRead, src, burst * bursts.src_pitch, bursts.bytes);
    const auto filled = static_cast<uint32_t>(padding.left + bursts.bytes + padding.right);
    uint8_t *to = copy.Touch(Access::kWrite, dst, static_cast<uint32_t>(burst * bursts.dst_pitch), filled);
    const void *value = padding.value == nullptr ? from : padding.value;
    for (uint32_t at = 0; at < padding.left; at += padding.element_bytes) {
      std::memcpy(to + at, value, padding.element_bytes);
    }
    std::memcpy(to + padding.left, from, bursts.bytes);
    for (uint32_t at = padding.left + bursts.bytes; at < filled; at += padding.element_bytes) {
      std::memcpy(to + at, value, padding.element_bytes);
    }
  }
  FinishGlobal(copy, src, MemoryName(dst.memory), bursts.count * bursts.bytes, false,
               copy.core().machine().options().costs.l2_read);
}

void ToGlobal(const Site &site, const char *name, const GlobalRange &dst, const LocalRange &src,
              const Bursts &bursts) {
  Instruction copy(PIPE_MTE3, name, site);
  copy.Require(src.memory == Memory::kUb || src.memory == Memory::kL1, Check::kCopyRange,
               "a copy to global memory comes from UB or L1");
  copy.Align(src, kBlockBytes, "src");
  for (int64_t burst = 0; burst < bursts.count; ++burst) {
    const uint8_t *from = copy.Touch(Access::kRead, src, static_cast<uint32_t>(burst * bursts.src_pitch),
                                     static_cast<uint32_t>(bursts.bytes));
    std::memcpy(copy.Touch(Access::kWrite, dst, burst * bursts.dst_pitch, bursts.bytes), from, bursts.bytes);
  }
  FinishGlobal(copy, dst, MemoryName(src.memory), bursts.count * bursts.bytes, true,
               copy.core().machine().options().costs.ub_to_global);
}

void WithinCore(const Site &site, const LocalRange &dst, const LocalRange &src, const Bursts &bursts) {
  Instruction copy(PIPE_V, "DataCopy", site);
  copy.Require(dst.memory == Memory::kUb && src.memory == Memory::kUb, Check::kCopyRange,
               "a copy between local tensors stays in UB");
  copy.Align(dst, kBlockBytes, "dst");
  copy.Align(src, kBlockBytes, "src");
  for (int64_t burst = 0; burst < bursts.count; ++burst) {
    const auto bytes = static_cast<uint32_t>(bursts.bytes);
    const uint8_t *from =
        copy.Touch(Access::kRead, src, static_cast<uint32_t>(burst * bursts.src_pitch), bytes);
    uint8_t *to = copy.Touch(Access::kWrite, dst, static_cast<uint32_t>(burst * bursts.dst_pitch), bytes);
    copy.Require(to + bytes <= from || from + bytes <= to, Check::kOverlap,
                 "src and dst of DataCopy overlap");
    std::memcpy(to, from, bytes);
  }
  const auto &costs = copy.core().machine().options().costs;
  copy.core().machine().result().bytes["UB to UB"] += static_cast<uint64_t>(bursts.count * bursts.bytes);
  copy.Finish(static_cast<double>(bursts.count * bursts.bytes) / costs.within_ub, costs.vector_latency);
}

void NdToNz(const Site &site, const LocalRange &dst, const GlobalRange &src, const Nd2NzParams &shape,
            uint32_t element_bytes) {
  RequireCopy(IsWithin(shape.ndNum, 1, 4095), site, "ndNum of Nd2Nz is not from 1 to 4095");
  RequireCopy(IsWithin(shape.nValue, 1, 16384), site, "nValue of Nd2Nz is not from 1 to 16384");
  RequireCopy(IsWithin(shape.dValue, 1, 65535), site, "dValue of Nd2Nz is not from 1 to 65535");
  RequireCopy(IsWithin(shape.srcDValue, 1, 65535), site,
              "srcDValue of Nd2Nz is not from 1 to 65535 elements");
  RequireCopy(IsWithin(shape.srcNdMatrixStride, 0, 65535), site,
              "srcNdMatrixStride of Nd2Nz is not from 0 to 65535");
  RequireCopy(IsWithin(shape.dstNzC0Stride, 1, 16384) && IsWithin(shape.dstNzNStride, 1, 16384), site,
              "a stride of the result of Nd2Nz is not from 1 to 16384 blocks");
  RequireCopy(IsWithin(shape.dstNzMatrixStride, 0, 65535), site,
              "dstNzMatrixStride of Nd2Nz is not from 0 to 65535");
  Instruction copy(PIPE_MTE2, "DataCopy Nd2Nz", site);
  copy.Require(dst.memory == Memory::kL1, Check::kCopyRange, "Nd2Nz goes to L1");
  copy.Align(dst, kBlockBytes, "dst");
  const auto row_bytes = static_cast<uint32_t>(shape.dValue * element_bytes);
  for (int64_t matrix = 0; matrix < shape.ndNum; ++matrix) {
    for (int64_t row = 0; row < shape.nValue; ++row) {
      const uint8_t *from =
          copy.Touch(Access::kRead, src,
                     (matrix * shape.srcNdMatrixStride + row * shape.srcDValue) * element_bytes, row_bytes);
      for (uint32_t at = 0; at < row_bytes; at += kBlockBytes) {
        const int64_t block = at / kBlockBytes * shape.dstNzC0Stride + row * shape.dstNzNStride;
        uint8_t *to = copy.Touch(
            Access::kWrite, dst,
            static_cast<uint32_t>(matrix * shape.dstNzMatrixStride * element_bytes + block * kBlockBytes),
            kBlockBytes);
        const uint32_t used = std::min(row_bytes - at, kBlockBytes);
        std::memcpy(to, from + at, used);
        std::memset(to + used, 0, kBlockBytes - used);
      }
    }
  }
  FinishGlobal(copy, src, "L1", shape.ndNum * shape.nValue * row_bytes, false,
               copy.core().machine().options().costs.l2_read);
}

}  // namespace AscendC::copies
