#include "call_drawing.h"

#include <sstream>
#include <utility>
#include <vector>

namespace ifa::cpu::test {
namespace {

constexpr OperandType kTypes[] = {OperandType::kAbsent,  OperandType::kBool,    OperandType::kInt8,
                                  OperandType::kUInt8,   OperandType::kInt32,   OperandType::kInt64,
                                  OperandType::kFloat16, OperandType::kFloat32, OperandType::kBFloat16,
                                  OperandType::kOther};
constexpr OperandType kFloats[] = {OperandType::kFloat32, OperandType::kFloat16, OperandType::kBFloat16};
constexpr OperandType kMasks[] = {OperandType::kBool, OperandType::kInt8, OperandType::kUInt8};
constexpr OperandType kIntegers[] = {OperandType::kInt32, OperandType::kInt64};

Operand OperandOf(OperandType type, std::vector<int64_t> shape) {
  return {type, "type " + std::to_string(static_cast<int>(type)), std::move(shape)};
}

// A number that finds mistakes: an edge of its type, a neighbour of `usual`, anything.
int64_t DrawNumber(int64_t usual, FuzzedDataProvider *data) {
  switch (data->ConsumeIntegralInRange(0, 3)) {
    case 0:
      return data->PickValueInArray<int64_t>({0, 1, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1 << 16});
    case 1:
      return usual < INT64_MAX ? usual + 1 : 1;
    case 2:
      return usual / 2;
    default:
      return data->ConsumeIntegral<int64_t>();
  }
}

struct NamedOperand {
  const char *name;
  Operand OperatorCall::*member;
};
constexpr NamedOperand kOperands[] = {
    {"query", &OperatorCall::query},
    {"key", &OperatorCall::key},
    {"value", &OperatorCall::value},
    {"attn_mask", &OperatorCall::attn_mask},
    {"actual_seq_lengths", &OperatorCall::actual_seq_lengths},
    {"pse_shift", &OperatorCall::pse_shift},
    {"dequant_scale1", &OperatorCall::dequant_scale1},
    {"quant_scale1", &OperatorCall::quant_scale1},
    {"dequant_scale2", &OperatorCall::dequant_scale2},
    {"quant_scale2", &OperatorCall::quant_scale2},
    {"quant_offset2", &OperatorCall::quant_offset2},
    {"antiquant_scale", &OperatorCall::antiquant_scale},
    {"antiquant_offset", &OperatorCall::antiquant_offset},
    {"block_table", &OperatorCall::block_table},
    {"kv_padding_size", &OperatorCall::kv_padding_size},
};

}  // namespace

OperatorCall DrawValidCall(FuzzedDataProvider *data) {
  const auto between = [data](int64_t least, int64_t most) {
    return data->ConsumeIntegralInRange(least, most);
  };
  OperatorCall call;
  const bool bsh = data->ConsumeBool();
  const bool paged = data->ConsumeBool();
  const int64_t batch = between(1, 3);
  const int64_t kv_heads = between(1, 3);
  const int64_t heads = kv_heads * between(1, 9);
  const int64_t size = between(1, 40);
  const int64_t block_size = 16 * between(1, 3);
  const int64_t blocks = between(1, 3);  // of a sequence
  const int64_t length = paged ? blocks * block_size : between(1, 100);
  call.num_heads = heads;
  call.num_key_value_heads = kv_heads == heads ? between(0, 1) * kv_heads : kv_heads;
  call.input_layout = static_cast<int64_t>(bsh ? Layout::kBsh : Layout::kBnsd);
  call.scale_value = data->ConsumeFloatingPointInRange(-1.0F, 1.0F);
  call.inner_precise = between(0, 1);

  const OperandType type = data->PickValueInArray(kFloats);
  call.query = bsh ? OperandOf(type, {batch, 1, heads * size}) : OperandOf(type, {batch, heads, 1, size});
  const int64_t outer = paged ? between(1, 9) : batch;
  const int64_t positions = paged ? block_size : length;
  const bool cache_bsh = bsh || (paged && data->ConsumeBool());
  call.key = cache_bsh ? OperandOf(type, {outer, positions, kv_heads * size})
                       : OperandOf(type, {outer, kv_heads, positions, size});
  call.value = call.key;
  const int64_t row = length + (paged ? between(0, 5) : 0);
  if (data->ConsumeBool()) {
    std::vector<int64_t> shape(static_cast<size_t>(between(2, 4)), 1);
    shape.front() = batch;
    shape.back() = row;
    call.attn_mask = OperandOf(data->PickValueInArray(kMasks), shape);
  }
  if (data->ConsumeBool()) {
    call.pse_shift = OperandOf(type, {data->ConsumeBool() ? 1 : batch, heads, 1, row});
  }
  if (paged || data->ConsumeBool()) {
    call.actual_seq_lengths = OperandOf(data->PickValueInArray(kIntegers), {data->ConsumeBool() ? 1 : batch});
  }
  if (paged) {
    call.block_size = block_size;
    call.block_table = OperandOf(OperandType::kInt32, {batch, blocks});
  }
  if (data->ConsumeBool()) {
    call.kv_padding_size = OperandOf(OperandType::kInt64,
                                     data->ConsumeBool() ? std::vector<int64_t>{} : std::vector<int64_t>{1});
  }
  return call;
}

void Change(OperatorCall *call, FuzzedDataProvider *data) {
  int64_t *attributes[] = {&call->num_heads, &call->num_key_value_heads, &call->input_layout,
                           &call->block_size, &call->inner_precise};
  Operand *operand = &(call->*data->PickValueInArray(kOperands).member);
  std::vector<int64_t> &shape = operand->shape;
  switch (data->ConsumeIntegralInRange(0, 4)) {
    case 0:
      *operand = OperandOf(data->PickValueInArray(kTypes), shape);
      break;
    case 1:
      shape.insert(shape.begin(), data->ConsumeIntegralInRange<int64_t>(0, 2));
      break;
    case 2:
      if (!shape.empty()) {
        shape.pop_back();
      }
      break;
    case 3:
      if (!shape.empty()) {
        int64_t &dimension = shape[data->ConsumeIntegralInRange<size_t>(0, shape.size() - 1)];
        dimension = DrawNumber(dimension, data);
      }
      break;
    default: {
      int64_t &attribute = *data->PickValueInArray(attributes);
      attribute = DrawNumber(attribute, data);
    }
  }
}

std::string Description(const OperatorCall &call) {
  std::ostringstream text;
  for (const NamedOperand &operand : kOperands) {
    if ((call.*operand.member).present()) {
      text << operand.name << " of " << (call.*operand.member).type_name << " (";
      for (const int64_t size : (call.*operand.member).shape) {
        text << size << ",";
      }
      text << "), ";
    }
  }
  text << "num_heads " << call.num_heads << ", input_layout " << call.input_layout << ", scale_value "
       << call.scale_value << ", num_key_value_heads " << call.num_key_value_heads << ", block_size "
       << call.block_size << ", inner_precise " << call.inner_precise;
  return text.str();
}

}  // namespace ifa::cpu::test
