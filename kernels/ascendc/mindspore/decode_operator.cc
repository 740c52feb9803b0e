// Makes Custom_ifa_decode known to MindSpore: names and types of its operands, the result's shape and type,
// and that the lengths are needed on the host. Of the AscendC kernel nothing is needed for that, so graphs
// can be compiled, exported and loaded on every machine.
#include "kernels/ascendc/mindspore/decode_operator.h"

#include "mindspore/core/include/ops/op_def.h"
#include "mindspore/ops/infer/ops_func_impl/incre_flash_attention.h"

namespace ifa {
namespace {

using mindspore::ops::OpDef;

/// MindSpore's infer functions take tensors for key and value too, as its backends have them, and check no
/// shape then.
OpDef Definition() {
  OpDef definition = *mindspore::ops::GetOpDef(kBuiltInOperator);
  definition.name_ = kDecodeOperator;
  for (const auto index : {mindspore::ops::kIncreFlashAttentionInputKeyIndex,
                           mindspore::ops::kIncreFlashAttentionInputValueIndex}) {
    definition.args_.at(index).arg_dtype_ = mindspore::ops::DT_TENSOR;
  }
  return definition;
}

/// Runs when the library is loaded; a second copy of it keeps what was there first.
bool RegisterWithMindSpore() {
  if (mindspore::ops::GetOpDef(kDecodeOperator) != nullptr) return false;
  static OpDef definition = Definition();
  mindspore::ops::AddOpDef(kDecodeOperator, &definition);
  return true;
}

[[maybe_unused]] const bool registered = RegisterWithMindSpore();

}  // namespace
}  // namespace ifa
