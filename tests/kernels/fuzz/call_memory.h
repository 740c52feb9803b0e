// The tensors of an accepted call, in memory that ends at an unreadable page, and what its result has to be.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <string>
#include <vector>

#include "guarded_buffer.h"
#include "operator_call.h"
#include "tensor.h"

namespace ifa::cpu::test {

class CallMemory {
 public:
  /// Fills the tensors of a call that PlanCall has accepted with numbers of at most 2, after dequantisation.
  /// A length or a block may be one that is refused.
  CallMemory(const OperatorCall &call, FuzzedDataProvider *data);

  /// Computes the call as a framework's kernel does, into the output.
  /// @throws Refusal or std::invalid_argument
  void Run(DecodeAttentionArgs args, const ExecutionOptions &options);

  /// The first element of the output (B, N, D) that is further from the reference than one rounding and fp32
  /// arithmetic explain, as a sentence; empty when there is none.
  std::string Compare() const;

 private:
  void FillNumbers(uint32_t seed);
  void DrawIntegers(FuzzedDataProvider *data);
  void MakeInputsReadOnly();
  int64_t LengthOf(int64_t batch) const;
  int64_t FirstOf(int64_t batch) const;
  int64_t RowOf(int64_t batch, int64_t kv_head, int64_t position) const;
  std::vector<double> Cache(int64_t which, int64_t batch, int64_t kv_head) const;
  std::vector<double> Row(int64_t batch, int64_t head, const std::vector<double> &key,
                          const std::vector<double> &value) const;
  std::string CompareRow(int64_t batch, int64_t head, const std::vector<double> &row) const;

  const OperatorCall &call_;
  int64_t batch_;
  int64_t kv_heads_;
  int64_t capacity_;  // S
  int64_t head_size_;
  Tensor query_, key_, value_, output_, pse_;
  Tensor quant_scale_, quant_offset_, antiquant_scale_, antiquant_offset_;
  GuardedBuffer mask_, lengths_, table_, padding_;
};

}  // namespace ifa::cpu::test
