// Guarded memory seen as elements of a type, with conversions of its own, independent of the kernels'.
#pragma once

#include <cstdint>

#include "decode_attention.h"
#include "guarded_buffer.h"

namespace ifa::cpu::test {

class Tensor {
 public:
  Tensor() = default;
  /// Zeroed.
  Tensor(DataType dtype, int64_t elements, GuardedBuffer::Guard guard);

  std::byte *data() const { return memory_.data(); }
  double Get(int64_t index) const;
  /// Rounds half to even; to int8, `x` is a whole number of which the low byte is kept.
  void Set(int64_t index, double x);
  /// Until the next Set(), whoever writes to it ends the process.
  void MakeReadOnly() { memory_.SetWritable(false); }

 private:
  DataType dtype_ = DataType::kFloat32;
  GuardedBuffer memory_;
};

/// The distance of neighbouring fp16 or bf16 numbers at x.
double UnitInTheLastPlace(DataType dtype, double x);

}  // namespace ifa::cpu::test
