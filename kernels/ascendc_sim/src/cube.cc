#include "ascendc/cube.h"

#include <algorithm>

#include "sim/machine.h"

namespace AscendC::cube {

using ifa::sim::Access;
using ifa::sim::Check;
using ifa::sim::Instruction;
using ifa::sim::kBlockBytes;
using ifa::sim::kWholeBlock;
using ifa::sim::LocalMemory;
using ifa::sim::LocalRange;
using ifa::sim::Memory;

namespace {

constexpr uint32_t kSide = 16;                               // of a fractal of numbers of 16 bits
constexpr uint32_t kFractalBytes = kSide * kBlockBytes;      // in L1, L0A and L0B: a row is a block
constexpr uint32_t kResultRowBytes = kSide * sizeof(float);  // of a fractal in L0C
constexpr uint32_t kResultFractalBytes = kSide * kResultRowBytes;

bool IsWithin(int64_t value, int64_t lowest, int64_t highest) { return value >= lowest && value <= highest; }

uint32_t Fractals(int64_t size) { return static_cast<uint32_t>((size + kSide - 1) / kSide); }

void MoveFractal(Instruction &load, LocalMemory &from, uint32_t src, LocalMemory &to, uint32_t dst,
                 bool transpose) {
  uint16_t values[kSide][kSide];
  uint32_t written[kSide] = {};
  for (uint32_t row = 0; row < kSide; ++row) {
    load.Order(Access::kRead, from, src + row, kWholeBlock);
    load.Order(Access::kWrite, to, dst + row, kWholeBlock);
  }
  std::memcpy(values, from.data() + src * kBlockBytes, sizeof(values));
  for (uint32_t row = 0; row < kSide; ++row) {
    if (!transpose) {
      written[row] = from.written(src + row);
      continue;
    }
    for (uint32_t column = 0; column < kSide; ++column) {
      written[column] |= (from.written(src + row) >> (2 * column) & 3) << (2 * row);
      if (column > row) {
        std::swap(values[row][column], values[column][row]);
      }
    }
  }
  std::memcpy(to.data() + dst * kBlockBytes, values, sizeof(values));
  for (uint32_t row = 0; row < kSide; ++row) {
    to.written(dst + row) = written[row];
  }
}

// Touches `rows` of the fractals number `fractal`, of which the first `columns` columns count.
void TouchRows(Instruction &mmad, const LocalRange &range, uint32_t fractal, uint32_t rows,
               uint32_t columns) {
  LocalMemory &memory = mmad.memory(range.memory);
  const uint32_t first = (range.address + fractal * kFractalBytes) / kBlockBytes;
  const uint32_t bytes = kWholeBlock >> (kBlockBytes - 2 * columns);
  for (uint32_t row = 0; row < rows; ++row) {
    mmad.TouchBlock(Access::kRead, memory, first + row, bytes);
  }
}

struct Sizes {
  uint32_t m, n, k;
  uint32_t m1() const { return Fractals(m); }
  uint32_t n1() const { return Fractals(n); }
  uint32_t k1() const { return Fractals(k); }
  // Of a dimension, what the fractal number `fractal` holds.
  static uint32_t Rest(uint32_t size, uint32_t fractal) { return std::min(kSide, size - fractal * kSide); }
};

void TouchOperands(Instruction &mmad, const LocalRange &left, const LocalRange &right, const Sizes &sizes) {
  mmad.Bounds(right, 0, uint64_t{sizes.k1()} * sizes.n1() * kFractalBytes);
  mmad.Bounds(
      left, 0,
      sizes.m == 1 ? uint64_t{sizes.k1()} * kBlockBytes : uint64_t{sizes.k1()} * sizes.m1() * kFractalBytes);
  for (uint32_t k = 0; k < sizes.k1(); ++k) {
    const uint32_t depth = Sizes::Rest(sizes.k, k);
    for (uint32_t n = 0; n < sizes.n1(); ++n) {
      TouchRows(mmad, right, k * sizes.n1() + n, Sizes::Rest(sizes.n, n), depth);
    }
    if (sizes.m == 1) {
      mmad.Touch(Access::kRead, left, k * kBlockBytes, depth * 2);
      continue;
    }
    for (uint32_t m = 0; m < sizes.m1(); ++m) {
      TouchRows(mmad, left, m * sizes.k1() + k, Sizes::Rest(sizes.m, m), depth);
    }
  }
}

void TouchResult(Instruction &mmad, Access access, const LocalRange &dst, const Sizes &sizes) {
  for (uint32_t n = 0; n < sizes.n1(); ++n) {
    const auto bytes = static_cast<uint32_t>(Sizes::Rest(sizes.n, n) * sizeof(float));
    for (uint32_t row = 0; row < sizes.m; ++row) {
      mmad.Touch(access, dst, n * sizes.m1() * kResultFractalBytes + row * kResultRowBytes, bytes);
    }
  }
}

// One fractal of the result, [16][16], plus `rows` rows of left [rows][depth] times right [depth][16].
void MultiplyFractal(float *result, const float *left, uint32_t left_pitch, const float (*right)[kSide],
                     uint32_t rows, uint32_t depth) {
  for (uint32_t row = 0; row < rows; ++row) {
    float sums[kSide];
    std::memcpy(sums, result + row * kSide, sizeof(sums));
    for (uint32_t k = 0; k < depth; ++k) {
      const float factor = left[row * left_pitch + k];
      for (uint32_t n = 0; n < kSide; ++n) {
        sums[n] += factor * right[k][n];
      }
    }
    std::memcpy(result + row * kSide, sums, sizeof(sums));
  }
}

// [m rounded up][k rounded up]. With one row the cube unit takes the left operand as a plain row instead of
// fractals.
std::vector<float> WidenLeft(const uint8_t *left, const Sizes &sizes, Widen widen) {
  const uint32_t pitch = sizes.k1() * kSide;
  std::vector<float> wide(size_t{sizes.m1()} * kSide * pitch);
  const auto *numbers = reinterpret_cast<const uint16_t *>(left);
  for (uint32_t m = 0; m < sizes.m; ++m) {
    for (uint32_t k = 0; k < sizes.k1(); ++k) {
      const uint32_t row = (m / kSide * sizes.k1() + k) * kSide + m % kSide;
      widen(&wide[m * pitch + k * kSide], numbers + (sizes.m == 1 ? k : row) * kSide, kSide);
    }
  }
  return wide;
}

// [16 k][16 n] of a fractal [16 n][16 k].
void WidenRight(float (*right)[kSide], const uint8_t *fractal, Widen widen) {
  float wide[kSide][kSide];
  widen(&wide[0][0], reinterpret_cast<const uint16_t *>(fractal), kSide * kSide);
  for (uint32_t k = 0; k < kSide; ++k) {
    for (uint32_t n = 0; n < kSide; ++n) {
      right[k][n] = wide[n][k];
    }
  }
}

}  // namespace

void LoadFractals(const Site &site, const LocalRange &dst, const LocalRange &src,
                  const LoadData2DParams &params) {
  Instruction load(PIPE_MTE1, params.ifTranspose ? "LoadData transposed" : "LoadData", site);
  load.Require(src.memory == Memory::kL1 && (dst.memory == Memory::kL0A || dst.memory == Memory::kL0B),
               Check::kCubeRange, "LoadData goes from L1 to L0A or L0B");
  load.Require(IsWithin(params.repeatTimes, 0, 255), Check::kCubeRange,
               "repeatTimes of LoadData is not from 0 to 255");
  load.Require(IsWithin(params.startIndex, 0, 65535) && IsWithin(params.srcStride, 0, 65535) &&
                   IsWithin(params.dstGap, 0, 65535) && params.addrMode == 0,
               Check::kCubeRange, "an index or stride of LoadData is not from 0 to 65535 fractals");
  load.Align(src, kBlockBytes, "src");
  load.Align(dst, kFractalBytes, "dst");
  LocalMemory &from = load.memory(src.memory);
  LocalMemory &to = load.memory(dst.memory);
  for (int64_t i = 0; i < params.repeatTimes; ++i) {
    const auto read = static_cast<uint64_t>(params.startIndex + i * params.srcStride) * kFractalBytes;
    const auto written = static_cast<uint64_t>(i * (1 + params.dstGap)) * kFractalBytes;
    load.Bounds(src, read, kFractalBytes);
    load.Bounds(dst, written, kFractalBytes);
    MoveFractal(load, from, static_cast<uint32_t>((src.address + read) / kBlockBytes), to,
                static_cast<uint32_t>((dst.address + written) / kBlockBytes), params.ifTranspose);
  }
  auto &machine = load.core().machine();
  const auto &costs = machine.options().costs;
  const auto bytes = static_cast<uint64_t>(params.repeatTimes) * kFractalBytes;
  machine.result().bytes[std::string("L1 to ") + ifa::sim::MemoryName(dst.memory)] += bytes;
  load.Finish(static_cast<double>(bytes) / (dst.memory == Memory::kL0A ? costs.l1_to_l0a : costs.l1_to_l0b),
              costs.local_copy_latency);
}

void Multiply(const Site &site, const LocalRange &dst, const LocalRange &left, const LocalRange &right,
              const MmadParams &params, Widen widen) {
  Instruction mmad(PIPE_M, "Mmad", site);
  mmad.Require(left.memory == Memory::kL0A && right.memory == Memory::kL0B && dst.memory == Memory::kL0C,
               Check::kCubeRange, "Mmad takes operands in L0A and L0B, and gives its result to L0C");
  mmad.Require(IsWithin(params.m, 1, 4095) && IsWithin(params.n, 1, 4095) && IsWithin(params.k, 1, 4095),
               Check::kCubeRange, "m, n or k of Mmad is not from 1 to 4095");
  mmad.Require(params.unitFlag == 0 && !params.cmatrixSource, Check::kCubeRange,
               "this emulator knows neither unitFlag nor a bias");
  mmad.Align(left, kFractalBytes, "left");
  mmad.Align(right, kFractalBytes, "right");
  mmad.Align(dst, kResultFractalBytes, "dst");
  const Sizes sizes{static_cast<uint32_t>(params.m), static_cast<uint32_t>(params.n),
                    static_cast<uint32_t>(params.k)};
  TouchOperands(mmad, left, right, sizes);
  if (!params.cmatrixInitVal) {
    TouchResult(mmad, Access::kRead, dst, sizes);
  }
  TouchResult(mmad, Access::kWrite, dst, sizes);
  const auto wide = WidenLeft(mmad.memory(Memory::kL0A).data() + left.address, sizes, widen);
  const uint8_t *fractals = mmad.memory(Memory::kL0B).data() + right.address;
  auto *result = reinterpret_cast<float *>(mmad.memory(Memory::kL0C).data() + dst.address);
  for (uint32_t n = 0; n < sizes.n1(); ++n) {
    float *column = result + size_t{n} * sizes.m1() * kSide * kSide;
    if (params.cmatrixInitVal) {
      std::fill_n(column, size_t{sizes.m} * kSide, 0.0f);
    }
    for (uint32_t k = 0; k < sizes.k1(); ++k) {
      float part[kSide][kSide];
      WidenRight(part, fractals + size_t{k * sizes.n1() + n} * kFractalBytes, widen);
      MultiplyFractal(column, wide.data() + k * kSide, sizes.k1() * kSide, part, sizes.m,
                      Sizes::Rest(sizes.k, k));
    }
  }
  auto &machine = mmad.core().machine();
  const uint64_t cycles = uint64_t{sizes.m1()} * sizes.n1() * sizes.k1();
  machine.result().repeats["Mmad"] += cycles;
  mmad.Finish(static_cast<double>(cycles), machine.options().costs.cube_latency);
}

void FillBlocks(const Site &site, const LocalRange &dst, int64_t repeats, int64_t blocks, int64_t gap,
                const uint8_t *pattern) {
  const bool is_l1 = dst.memory == Memory::kL1;
  const uint32_t unit = is_l1 ? kBlockBytes : kFractalBytes;
  Instruction fill(is_l1 ? PIPE_MTE2 : PIPE_MTE1, "InitConstValue", site);
  fill.Require(IsWithin(repeats, 0, 32767) && IsWithin(blocks, 0, 32767) && IsWithin(gap, 0, 32767),
               Check::kCubeRange, "a parameter of InitConstValue is not from 0 to 32767");
  fill.Align(dst, unit, "dst");
  const auto bytes = static_cast<uint32_t>(blocks * unit);
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    uint8_t *to =
        fill.Touch(Access::kWrite, dst, static_cast<uint32_t>(repeat * (bytes + gap * unit)), bytes);
    for (uint32_t at = 0; at < bytes; at += kBlockBytes) {
      std::memcpy(to + at, pattern, kBlockBytes);
    }
  }
  const auto &costs = fill.core().machine().options().costs;
  fill.Finish(static_cast<double>(repeats * bytes) / costs.fill_l1, costs.local_copy_latency);
}

}  // namespace AscendC::cube
