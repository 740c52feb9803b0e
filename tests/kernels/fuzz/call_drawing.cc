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

using Shape = std::vector<int64_t>;

struct Sizes {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_size;
};

Operand OperandOf(OperandType type, Shape shape) {
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

Shape DrawShape(const std::vector<Shape> &shapes, FuzzedDataProvider *data) {
  return shapes[data->ConsumeIntegralInRange<size_t>(0, shapes.size() - 1)];
}

// Half of the head sizes are those that the matrix unit takes, multiples of 32.
Sizes DrawSizes(FuzzedDataProvider *data) {
  Sizes sizes{};
  sizes.batch = data->ConsumeIntegralInRange(1, 3);
  sizes.kv_heads = data->ConsumeIntegralInRange(1, 3);
  sizes.heads = sizes.kv_heads * data->ConsumeIntegralInRange(1, 9);
  sizes.head_size =
      data->ConsumeBool() ? 32 * data->ConsumeIntegralInRange(1, 2) : data->ConsumeIntegralInRange(1, 40);
  return sizes;
}

// The parameters of an int8 cache. Scale and offset have the same rank, not always the same shape.
void DrawAntiquantisation(const Sizes &sizes, OperatorCall *call, FuzzedDataProvider *data) {
  const int64_t heads = sizes.kv_heads;
  const int64_t size = sizes.head_size;
  const std::vector<Shape> shapes_by_rank[] = {
      {{2}}, {{2, heads * size}}, {{2, heads, size}}, {{2, heads, 1, size}, {2, 1, heads, size}}};
  const std::vector<Shape> shapes = data->PickValueInArray(shapes_by_rank);
  call->antiquant_scale = OperandOf(call->query.type, DrawShape(shapes, data));
  if (data->ConsumeBool()) {
    call->antiquant_offset = OperandOf(call->query.type, DrawShape(shapes, data));
  }
}

// The parameters of an int8 output.
void DrawOutputQuantisation(const Sizes &sizes, OperatorCall *call, FuzzedDataProvider *data) {
  const int64_t heads = sizes.heads;
  const int64_t size = sizes.head_size;
  const bool per_tensor = call->block_table.present() || data->ConsumeBool();
  const Shape shape = per_tensor ? Shape{1}
                                 : DrawShape({{1, heads, 1, size},
                                              {heads, 1, size},
                                              {heads, size},
                                              {1, 1, heads, size},
                                              {1, heads, size},
                                              {1, heads * size},
                                              {1, 1, heads * size},
                                              {heads * size}},
                                             data);
  call->quant_scale2 = OperandOf(OperandType::kFloat32, shape);
  if (data->ConsumeBool()) {
    call->quant_offset2 = OperandOf(OperandType::kFloat32, shape);
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

// Query, key, value, block_table and the parameters of int8; returns S.
int64_t DrawTensors(const Sizes &sizes, OperatorCall *call, FuzzedDataProvider *data) {
  const auto between = [data](int64_t least, int64_t most) {
    return data->ConsumeIntegralInRange(least, most);
  };
  const auto &[batch, heads, kv_heads, size] = sizes;
  const bool bsh = call->input_layout == static_cast<int64_t>(Layout::kBsh);
  const bool paged = data->ConsumeBool();
  const OperandType type = data->PickValueInArray(kFloats);
  const OperandType cache = data->ConsumeBool() ? OperandType::kInt8 : type;
  call->query = OperandOf(type, bsh ? Shape{batch, 1, heads * size} : Shape{batch, heads, 1, size});
  int64_t outer = batch;
  const bool for_threads = between(0, 15) == 15;  // enough to be shared by several, with some luck
  int64_t positions = for_threads ? between(1000, 2000) : between(1, 100);
  int64_t length = positions;
  if (paged) {
    const int64_t blocks = for_threads ? between(40, 60) : between(1, 3);  // of a sequence
    outer = between(1, 9);
    positions = cache == OperandType::kInt8 ? 32 * between(1, 2) : 16 * between(1, 3);
    length = blocks * positions;
    call->block_size = positions;
    call->block_table = OperandOf(OperandType::kInt32, {batch, blocks});
  }
  const bool cache_bsh = bsh || (paged && data->ConsumeBool());
  call->key = OperandOf(
      cache, cache_bsh ? Shape{outer, positions, kv_heads * size} : Shape{outer, kv_heads, positions, size});
  call->value = call->key;
  if (cache == OperandType::kInt8) {
    DrawAntiquantisation(sizes, call, data);
  }
  if (data->ConsumeBool()) {
    DrawOutputQuantisation(sizes, call, data);
  }
  return length;
}

}  // namespace

OperatorCall DrawValidCall(FuzzedDataProvider *data) {
  const auto between = [data](int64_t least, int64_t most) {
    return data->ConsumeIntegralInRange(least, most);
  };
  const Sizes sizes = DrawSizes(data);
  OperatorCall call;
  call.num_heads = sizes.heads;
  call.num_key_value_heads = sizes.kv_heads == sizes.heads ? between(0, 1) * sizes.kv_heads : sizes.kv_heads;
  call.input_layout = static_cast<int64_t>(data->ConsumeBool() ? Layout::kBsh : Layout::kBnsd);
  call.scale_value = data->ConsumeFloatingPointInRange(-1.0F, 1.0F);
  call.inner_precise = between(0, 1);
  const int64_t length = DrawTensors(sizes, &call, data);
  const bool paged = call.block_table.present();
  const int64_t row = length + (paged ? between(0, 5) : 0);
  if (data->ConsumeBool()) {
    Shape shape(static_cast<size_t>(between(2, 4)), 1);
    shape.front() = sizes.batch;
    shape.back() = row;
    call.attn_mask = OperandOf(data->PickValueInArray(kMasks), shape);
  }
  if (data->ConsumeBool()) {
    call.pse_shift = OperandOf(call.query.type, {data->ConsumeBool() ? 1 : sizes.batch, sizes.heads, 1, row});
  }
  if (paged || data->ConsumeBool()) {
    call.actual_seq_lengths =
        OperandOf(data->PickValueInArray(kIntegers), {data->ConsumeBool() ? 1 : sizes.batch});
  }
  if (data->ConsumeBool()) {
    call.kv_padding_size = OperandOf(OperandType::kInt64, data->ConsumeBool() ? Shape{} : Shape{1});
  }
  return call;
}

void Change(OperatorCall *call, FuzzedDataProvider *data) {
  int64_t *attributes[] = {&call->num_heads, &call->num_key_value_heads, &call->input_layout,
                           &call->block_size, &call->inner_precise};
  Operand *operand = &(call->*data->PickValueInArray(kOperands).member);
  Shape &shape = operand->shape;
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
