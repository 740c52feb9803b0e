// The tensors of an accepted call, in memory that ends at an unreadable page, and what its result has to be.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <vector>

#include "guarded_buffer.h"
#include "operator_call.h"

namespace ifa::cpu::test {

class CallMemory {
 public:
  /// Fills the tensors of a call that PlanCall has accepted. A length or a block may be one that is refused.
  CallMemory(const OperatorCall &call, FuzzedDataProvider *data);

  /// Computes the call as a framework's kernel does, into the output.
  /// @throws Refusal or std::invalid_argument
  void Run(DecodeAttentionArgs args, const ExecutionOptions &options);

  /// The first element of the output (B, N, D) that is further from the reference than one rounding and fp32
  /// arithmetic explain, as a sentence; empty when there is none.
  std::string Compare() const;

 private:
  int64_t LengthOf(int64_t batch) const;
  int64_t RowOf(const Operand &cache, int64_t batch, int64_t kv_head, int64_t position) const;
  double Number(const Operand &operand, const GuardedBuffer &memory, int64_t index) const;
  std::vector<double> Row(int64_t batch, int64_t head) const;

  const OperatorCall &call_;
  int64_t batch_;
  int64_t kv_heads_;
  int64_t capacity_;  // S
  int64_t head_size_;
  GuardedBuffer query_, key_, value_, output_, mask_, pse_, lengths_, table_, padding_;
};

}  // namespace ifa::cpu::test
