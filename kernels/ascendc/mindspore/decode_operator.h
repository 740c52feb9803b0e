// Custom_ifa_decode: the operator by which a graph asks for the AscendC kernel on Ascend.
//
// Its operands are the 21 of MindSpore's IncreFlashAttention, in that operator's order and with None for what
// is absent, so that one lowering and one CPU kernel serve both:
//   query, key, value, attn_mask, actual_seq_lengths, pse_shift, dequant_scale1, quant_scale1,
//   dequant_scale2, quant_scale2, quant_offset2, antiquant_scale, antiquant_offset, block_table,
//   kv_padding_size, num_heads, input_layout (BSH 0, BNSD 1), scale_value, num_key_value_heads, block_size,
//   inner_precise.
// The one difference: key and value are tensors, not lists of one tensor, because MindSpore's Ascend backend
// unfolds lists for its own operators only.
#pragma once

namespace ifa {

/// With the prefix that MindSpore's macro for operators from outside, MS_CUSTOM_OPS_REGISTER, gives to all of
/// them.
inline constexpr char kDecodeOperator[] = "Custom_ifa_decode";
inline constexpr char kBuiltInOperator[] = "IncreFlashAttention";

}  // namespace ifa
