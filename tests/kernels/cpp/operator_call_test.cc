// The operator's calls that no test can make with real tensors: caches at the limit of their size.
#include "operator_call.h"

#include <string>

#include "check.h"

namespace ifa::cpu::test {
namespace {

Operand Tensor(OperandType type, std::vector<int64_t> shape) {
  Operand operand;
  operand.type = type;
  operand.type_name = "a type";
  operand.shape = std::move(shape);
  return operand;
}

// B = 1, N = kvN = 2, D = 64, one block for the sequence.
OperatorCall PagedCall(OperandType cache, int64_t block_size, std::vector<int64_t> cache_shape) {
  OperatorCall call;
  call.query = Tensor(OperandType::kFloat16, {1, 2, 1, 64});
  call.key = call.value = Tensor(cache, std::move(cache_shape));
  call.actual_seq_lengths = Tensor(OperandType::kInt64, {1});
  call.block_table = Tensor(OperandType::kInt32, {1, 1});
  if (cache == OperandType::kInt8) {
    call.antiquant_scale = Tensor(OperandType::kFloat16, {2});
  }
  call.num_heads = 2;
  call.input_layout = static_cast<int64_t>(Layout::kBnsd);
  call.block_size = block_size;
  return call;
}

// "" when the call is refused for the number of elements, or `taken` and not refused.
std::string Judge(const OperatorCall &call, bool taken) {
  try {
    PlanCall(call);
  } catch (const Refusal &refusal) {
    const std::string message = refusal.what();
    const bool right = refusal.kind() == RefusalKind::kRuntimeError &&
                       message.find("key must have at most 2147483647 elements") != std::string::npos;
    return right && !taken ? "" : message;
  }
  return taken ? "" : "no refusal";
}

// 2^31 elements are 2^31 / (2 * 64 * block_size) blocks.
void LargestCache() {
  for (const auto type : {OperandType::kFloat16, OperandType::kInt8}) {
    for (const int64_t block_size : {32, 512}) {
      const int64_t limit = (int64_t{1} << 31) / (128 * block_size);
      const std::string name = "cache of blocks of " + std::to_string(block_size);
      Report(name, Judge(PagedCall(type, block_size, {limit - 1, block_size, 128}), true));
      Report(name, Judge(PagedCall(type, block_size, {limit, block_size, 128}), false));
      Report(name + ", 4-D", Judge(PagedCall(type, block_size, {limit - 1, 2, block_size, 64}), true));
      Report(name + ", 4-D", Judge(PagedCall(type, block_size, {limit, 2, block_size, 64}), false));
      // A product that 64 bits do not hold.
      Report(name + ", overflow",
             Judge(PagedCall(type, block_size, {int64_t{1} << 50, block_size, 128}), false));
    }
  }
}

}  // namespace

void TestOperatorCall() { LargestCache(); }

}  // namespace ifa::cpu::test
