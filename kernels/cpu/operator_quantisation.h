// The operator's int8 caches and int8 output: which scales and offsets belong to a call, and in which shapes.
#pragma once

#include "decode_attention.h"
#include "operator_call.h"

namespace ifa::cpu {

/// Checks antiquant_scale and antiquant_offset, whose types are floating-point ones, against the cache.
/// @param args sizes of the call; gets `antiquant_per_tensor`.
/// @throws Refusal
void PlanAntiquantisation(const OperatorCall &call, DecodeAttentionArgs *args);

/// Checks quant_scale2 and quant_offset2, which are of fp32.
/// @param args sizes of the call; gets `quant_per_channel`.
/// @throws Refusal
void PlanOutputQuantisation(const OperatorCall &call, DecodeAttentionArgs *args);

}  // namespace ifa::cpu
