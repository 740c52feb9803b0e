#include "operator_quantisation.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "operator_refusal.h"

namespace ifa::cpu {
namespace {

using Shapes = std::vector<std::vector<int64_t>>;

/// Whether a parameter is given per channel, in one of `shapes`, and not in the shape for all channels.
bool IsPerChannel(const char *name, const Operand &parameter, const std::vector<int64_t> &for_all,
                  const Shapes &shapes) {
  if (parameter.shape == for_all) return false;
  if (std::find(shapes.begin(), shapes.end(), parameter.shape) == shapes.end()) {
    std::string allowed;
    for (const auto &shape : shapes) allowed += ", " + ShapeText(shape);
    Refuse(RefusalKind::kRuntimeError, name, " must have one of the shapes ", ShapeText(for_all), allowed,
           ", but got ", ShapeText(parameter.shape), ".");
  }
  return true;
}

void RequireAbsent(const char *name, const Operand &parameter, const char *when) {
  if (parameter.present()) {
    Refuse(RefusalKind::kRuntimeError, name, " must be None ", when, ", but got ", parameter.type_name, ".");
  }
}

}  // namespace

void PlanAntiquantisation(const OperatorCall &call, DecodeAttentionArgs *args) {
  const std::pair<const char *, const Operand *> parameters[] = {
      {"antiquant_scale", &call.antiquant_scale}, {"antiquant_offset", &call.antiquant_offset}};
  if (call.key.type != OperandType::kInt8) {
    for (const auto &[name, parameter] : parameters) {
      RequireAbsent(name, *parameter, "unless key and value are Int8");
    }
    return;
  }
  if (!call.antiquant_scale.present()) {
    Refuse(RefusalKind::kRuntimeError, "antiquant_scale must be given with key and value of ",
           call.key.type_name, ", but got None.");
  }
  const int64_t heads = args->kv_heads;
  const int64_t size = args->head_size;
  const Shapes shapes = {{2, heads, 1, size}, {2, 1, heads, size}, {2, heads, size}, {2, heads * size}};
  for (const auto &[name, parameter] : parameters) {
    if (!parameter->present()) continue;
    if (parameter->type != call.query.type) {
      Refuse(RefusalKind::kRuntimeError, name, " must have the data type of query, ", call.query.type_name,
             ", but got ", parameter->type_name, ".");
    }
    args->antiquant_per_tensor = !IsPerChannel(name, *parameter, {2}, shapes);
  }
  if (call.antiquant_offset.present() &&
      call.antiquant_offset.shape.size() != call.antiquant_scale.shape.size()) {
    Refuse(RefusalKind::kRuntimeError, "antiquant_offset must have the rank of antiquant_scale, ",
           call.antiquant_scale.shape.size(), ", but got the shape ", ShapeText(call.antiquant_offset.shape),
           ".");
  }
}

void PlanOutputQuantisation(const OperatorCall &call, DecodeAttentionArgs *args) {
  if (!call.quant_scale2.present()) {
    return RequireAbsent("quant_offset2", call.quant_offset2, "without quant_scale2");
  }
  const int64_t heads = args->query_heads;
  const int64_t size = args->head_size;
  const Shapes shapes = {{1, heads, 1, size}, {heads, 1, size},  {heads, size},        {1, 1, heads, size},
                         {1, heads, size},    {1, heads * size}, {1, 1, heads * size}, {heads * size}};
  args->quant_per_channel = IsPerChannel("quant_scale2", call.quant_scale2, {1}, shapes);
  if (args->quant_per_channel && call.block_table.present()) {
    Refuse(RefusalKind::kRuntimeError, "quant_scale2 must have the shape (1,) with block_table, but got ",
           ShapeText(call.quant_scale2.shape), ".");
  }
  if (call.quant_offset2.present() && call.quant_offset2.shape != call.quant_scale2.shape) {
    Refuse(RefusalKind::kRuntimeError, "quant_offset2 must have the shape of quant_scale2, ",
           ShapeText(call.quant_scale2.shape), ", but got ", ShapeText(call.quant_offset2.shape), ".");
  }
}

}  // namespace ifa::cpu
