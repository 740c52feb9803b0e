// The entry of the AscendC operator IfaDecode: chooses the path that the host's tiling key names. The inputs
// are in the order of op_host/ifa_decode_def.cpp; those that the operator does not take yet are there for
// that order.
#include "cube_path.h"
#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"
#include "vector_path.h"

extern "C" __global__ __aicore__ void ifa_decode(GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR pse_shift,
                                                 GM_ADDR attn_mask, GM_ADDR actual_seq_lengths,
                                                 GM_ADDR /*dequant_scale1*/, GM_ADDR /*quant_scale1*/,
                                                 GM_ADDR /*dequant_scale2*/, GM_ADDR quant_scale2,
                                                 GM_ADDR quant_offset2, GM_ADDR antiquant_scale,
                                                 GM_ADDR antiquant_offset, GM_ADDR block_table,
                                                 GM_ADDR kv_padding_size, GM_ADDR attention_out,
                                                 GM_ADDR workspace, GM_ADDR tiling) {
  REGISTER_TILING_DEFAULT(ifa::ascendc::DecodeTiling);
  GET_TILING_DATA_WITH_STRUCT(ifa::ascendc::DecodeTiling, plan, tiling);
  const ifa::ascendc::DecodeArguments arguments = {query,           key,
                                                   value,           pse_shift,
                                                   attn_mask,       actual_seq_lengths,
                                                   quant_scale2,    quant_offset2,
                                                   antiquant_scale, antiquant_offset,
                                                   block_table,     kv_padding_size,
                                                   attention_out,   AscendC::GetUserWorkspace(workspace)};
  AscendC::TPipe pipe;
  // The build reads the keys from this text, so they are digits here: kKey... in decode_tiling_data.h.
  KERNEL_TASK_TYPE(1, KERNEL_TYPE_MIX_AIV_1_0);
  if (TILING_KEY_IS(1)) {
    ifa::ascendc::VectorPath path;
    path.Init(&pipe, plan, arguments);
    path.Run();
    return;
  }
  KERNEL_TASK_TYPE(2, KERNEL_TYPE_MIX_AIC_1_2);
  if (TILING_KEY_IS(2)) return ifa::ascendc::RunCubePath<half, false>(&pipe, plan, arguments);
  KERNEL_TASK_TYPE(3, KERNEL_TYPE_MIX_AIC_1_2);
  if (TILING_KEY_IS(3)) return ifa::ascendc::RunCubePath<bfloat16_t, false>(&pipe, plan, arguments);
  KERNEL_TASK_TYPE(4, KERNEL_TYPE_MIX_AIC_1_2);
  if (TILING_KEY_IS(4)) return ifa::ascendc::RunCubePath<half, true>(&pipe, plan, arguments);
  KERNEL_TASK_TYPE(5, KERNEL_TYPE_MIX_AIC_1_2);
  if (TILING_KEY_IS(5)) return ifa::ascendc::RunCubePath<bfloat16_t, true>(&pipe, plan, arguments);
}
