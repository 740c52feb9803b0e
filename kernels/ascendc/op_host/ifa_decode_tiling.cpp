#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "kernels/ascendc/op_host/decode_tiling.h"
#include "kernels/ascendc/op_host/ifa_decode_inputs.h"
#include "kernels/cpu/decode_attention.h"
#include "tiling/platform/platform_ascendc.h"

namespace ifa::ascendc {
namespace {

using cpu::Operand;
using cpu::OperandType;
using cpu::OperatorCall;

Operand OfType(ge::DataType type) {
  switch (type) {
    case ge::DT_BOOL:
      return {OperandType::kBool, "Bool", {}};
    case ge::DT_INT8:
      return {OperandType::kInt8, "Int8", {}};
    case ge::DT_UINT8:
      return {OperandType::kUInt8, "UInt8", {}};
    case ge::DT_INT32:
      return {OperandType::kInt32, "Int32", {}};
    case ge::DT_INT64:
      return {OperandType::kInt64, "Int64", {}};
    case ge::DT_FLOAT16:
      return {OperandType::kFloat16, "Float16", {}};
    case ge::DT_BF16:
      return {OperandType::kBFloat16, "BFloat16", {}};
    case ge::DT_FLOAT:
      return {OperandType::kFloat32, "Float32", {}};
    default:
      return {OperandType::kOther, "CANN's type " + std::to_string(static_cast<int>(type)), {}};
  }
}

Operand ReadOperand(const gert::TilingContext &context, Input input) {
  const gert::StorageShape *shape = context.GetOptionalInputShape(input);
  const gert::CompileTimeTensorDesc *description = context.GetOptionalInputDesc(input);
  if (shape == nullptr || description == nullptr) return {};
  Operand operand = OfType(description->GetDataType());
  const gert::Shape &dimensions = shape->GetOriginShape();
  for (size_t i = 0; i < dimensions.GetDimNum(); ++i) operand.shape.push_back(dimensions.GetDim(i));
  return operand;
}

/// A number that no layout has stands for a name that none has.
int64_t LayoutNumber(const std::string &name) {
  if (name == "BSH") return static_cast<int64_t>(cpu::Layout::kBsh);
  return name == "BNSD" ? static_cast<int64_t>(cpu::Layout::kBnsd) : -1;
}

OperatorCall ReadCall(const gert::TilingContext &context) {
  OperatorCall call;
  call.query = ReadOperand(context, kQuery);
  call.key = ReadOperand(context, kKey);
  call.value = ReadOperand(context, kValue);
  call.pse_shift = ReadOperand(context, kPseShift);
  call.attn_mask = ReadOperand(context, kAttnMask);
  call.actual_seq_lengths = ReadOperand(context, kActualSeqLengths);
  call.dequant_scale1 = ReadOperand(context, kDequantScale1);
  call.quant_scale1 = ReadOperand(context, kQuantScale1);
  call.dequant_scale2 = ReadOperand(context, kDequantScale2);
  call.quant_scale2 = ReadOperand(context, kQuantScale2);
  call.quant_offset2 = ReadOperand(context, kQuantOffset2);
  call.antiquant_scale = ReadOperand(context, kAntiquantScale);
  call.antiquant_offset = ReadOperand(context, kAntiquantOffset);
  call.block_table = ReadOperand(context, kBlockTable);
  call.kv_padding_size = ReadOperand(context, kKvPaddingSize);
  const gert::RuntimeAttrs &attributes = *context.GetAttrs();
  call.num_heads = *attributes.GetInt(kNumHeads);
  call.scale_value = *attributes.GetFloat(kScaleValue);
  call.input_layout = LayoutNumber(attributes.GetStr(kInputLayout));
  call.num_key_value_heads = *attributes.GetInt(kNumKeyValueHeads);
  call.block_size = *attributes.GetInt(kBlockSize);
  call.inner_precise = *attributes.GetInt(kInnerPrecise);
  return call;
}

/// None where only the device knows them.
std::vector<int64_t> KnownLengths(const gert::TilingContext &context, const OperatorCall &call) {
  const gert::Tensor *tensor = context.GetOptionalInputTensor(kActualSeqLengths);
  const int64_t *data = tensor == nullptr ? nullptr : tensor->GetData<int64_t>();
  if (data == nullptr) return {};
  return cpu::ReadLengths(call.actual_seq_lengths, data, cpu::PlanCall(call));
}

void Plan(gert::TilingContext *context) {
  const OperatorCall call = ReadCall(*context);
  const platform_ascendc::PlatformAscendC platform(context->GetPlatformInfo());
  const DecodeTiling tiling =
      MakeTiling(call, KnownLengths(*context, call), {platform.GetCoreNumAic(), platform.GetCoreNumAiv()});
  *context->GetTilingData<DecodeTiling>() = tiling;
  context->SetTilingKey(TilingKey(call, tiling));
  context->SetBlockDim(tiling.cores);
  // The cores wait for each other: all of them have to run at once.
  context->SetScheduleMode(1);
  context->GetWorkspaceSizes(1)[0] = platform.GetLibApiWorkSpaceSize() + tiling.workspaceBytes;
}

}  // namespace

ge::graphStatus PlanTiling(gert::TilingContext *context) {
  try {
    Plan(context);
    return ge::GRAPH_SUCCESS;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "IfaDecode: %s\n", error.what());
    return ge::GRAPH_FAILED;
  }
}

}  // namespace ifa::ascendc
