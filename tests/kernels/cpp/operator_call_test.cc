// The operator's calls that no test can make with real tensors, or should not: sizes at their limits.
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

// "" when the call is refused with a sentence that holds `part`, or taken if `part` is empty.
std::string Judge(const OperatorCall &call, const std::string &part) {
  try {
    PlanCall(call);
  } catch (const Refusal &refusal) {
    const std::string message = refusal.what();
    const bool right =
        refusal.kind() == RefusalKind::kRuntimeError && message.find(part) != std::string::npos;
    return right && !part.empty() ? "" : message;
  }
  return part.empty() ? "" : "no refusal";
}

// 2^31 elements are 2^31 / (2 * 64 * block_size) blocks.
void LargestCache() {
  const std::string refused = "key must have at most 2147483647 elements";
  for (const auto type : {OperandType::kFloat16, OperandType::kInt8}) {
    for (const int64_t block_size : {32, 512}) {
      const int64_t limit = (int64_t{1} << 31) / (128 * block_size);
      const std::string name = "cache of blocks of " + std::to_string(block_size);
      Report(name, Judge(PagedCall(type, block_size, {limit - 1, block_size, 128}), ""));
      Report(name, Judge(PagedCall(type, block_size, {limit, block_size, 128}), refused));
      Report(name + ", 4-D", Judge(PagedCall(type, block_size, {limit - 1, 2, block_size, 64}), ""));
      Report(name + ", 4-D", Judge(PagedCall(type, block_size, {limit, 2, block_size, 64}), refused));
      // A product that 64 bits do not hold.
      Report(name + ", overflow",
             Judge(PagedCall(type, block_size, {int64_t{1} << 50, block_size, 128}), refused));
    }
  }
}

OperatorCall Call(int64_t batch, int64_t heads, int64_t kv_heads, int64_t head_size) {
  OperatorCall call;
  call.query = Tensor(OperandType::kFloat16, {batch, heads, 1, head_size});
  call.key = call.value = Tensor(OperandType::kFloat16, {batch, kv_heads, 1, head_size});
  call.num_heads = heads;
  call.num_key_value_heads = kv_heads;
  call.input_layout = static_cast<int64_t>(Layout::kBnsd);
  return call;
}

void LargestSizes() {
  Report("largest sizes", Judge(Call(65536, 64, 1, 512), ""));
  Report("most heads", Judge(Call(1, 64 * 256, 256, 1), ""));
  Report("batch", Judge(Call(65537, 1, 1, 1), "query's batch size must be at most 65536, but got 65537."));
  Report("KV heads", Judge(Call(1, 257, 257, 1), "num_key_value_heads must be at most 256, but got 257."));
  Report("group",
         Judge(Call(1, 195, 3, 1), "num_heads / num_key_value_heads must be at most 64, but got 65."));
  Report("head size", Judge(Call(1, 1, 1, 513), "query's head size must be at most 512, but got 513."));
  OperatorCall call = Call(1, 257, 257, 1);
  call.num_key_value_heads = 0;
  Report("heads of their own",
         Judge(call, "num_heads, without num_key_value_heads, must be at most 256, but got 257."));
}

}  // namespace

void TestOperatorCall() {
  LargestCache();
  LargestSizes();
}

}  // namespace ifa::cpu::test
