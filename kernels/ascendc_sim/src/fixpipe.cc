#include "ascendc/fixpipe.h"

#include <algorithm>

#include "sim/machine.h"

namespace AscendC::cube {

using ifa::sim::Access;
using ifa::sim::Check;
using ifa::sim::Memory;

void ToRows(const Site &site, const ifa::sim::GlobalRange &dst, const ifa::sim::LocalRange &src,
            const FixpipeParamsV220 &params) {
  constexpr uint32_t kColumns = 16;  // of a fractal
  constexpr uint32_t kRowBytes = kColumns * sizeof(float);
  ifa::sim::Instruction fixpipe(PIPE_FIX, "Fixpipe", site);
  fixpipe.Require(src.memory == Memory::kL0C, Check::kCubeRange, "Fixpipe comes from L0C");
  fixpipe.Require(params.mSize >= 1 && params.mSize <= 8192 && params.nSize >= 1 && params.nSize <= 4095,
                  Check::kCubeRange, "mSize of Fixpipe is not from 1 to 8192, or nSize not from 1 to 4095");
  fixpipe.Require(params.srcStride >= 1 && params.srcStride <= 65535 && params.dstStride >= 1,
                  Check::kCubeRange, "srcStride of Fixpipe is not from 1 to 65535, or dstStride is 0");
  fixpipe.Require(params.ndNum == 1 && !params.reluEn && params.unitFlag == 0 && !params.isChannelSplit,
                  Check::kCubeRange, "this emulator knows Fixpipe of one matrix without more");
  fixpipe.Align(src, 64, "src");
  for (int64_t row = 0; row < params.mSize; ++row) {
    uint8_t *to = fixpipe.Touch(Access::kWrite, dst, row * params.dstStride * sizeof(float),
                                static_cast<uint64_t>(params.nSize) * sizeof(float));
    for (int64_t column = 0; column < params.nSize; column += kColumns) {
      const auto count = static_cast<uint32_t>(std::min<int64_t>(kColumns, params.nSize - column));
      const auto at = static_cast<uint32_t>((column / kColumns * params.srcStride + row) * kRowBytes);
      const uint8_t *from =
          fixpipe.Touch(Access::kRead, src, at, static_cast<uint32_t>(count * sizeof(float)));
      std::memcpy(to + column * sizeof(float), from, count * sizeof(float));
    }
  }
  auto &machine = fixpipe.core().machine();
  const auto bytes = static_cast<uint64_t>(params.mSize * params.nSize) * sizeof(float);
  machine.result().bytes["L0C to global"] += bytes;
  const auto &costs = machine.options().costs;
  fixpipe.Finish(costs.copy_start + static_cast<double>(bytes) / costs.l2_write, costs.global_latency);
}

}  // namespace AscendC::cube
