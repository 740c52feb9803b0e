// The operands of one call in global memory.
#pragma once

#include "kernel_operator.h"

namespace ifa::ascendc {

/// Null where an operand is absent, which the tiling says. T: fp16 or bf16.
struct DecodeArguments {
  GM_ADDR query;             ///< T (B, N, D)
  GM_ADDR key;               ///< T or int8; layouts in decode_tiling_data.h
  GM_ADDR value;             ///< like key
  GM_ADDR pse_shift;         ///< T (1 or B, N, pseStride)
  GM_ADDR attn_mask;         ///< uint8 (B, maskStride), not 0 hides
  GM_ADDR lengths;           ///< int64 (lengthCount)
  GM_ADDR quant_scale;       ///< fp32 (1) or (N * D)
  GM_ADDR quant_offset;      ///< like quant_scale
  GM_ADDR antiquant_scale;   ///< T (2) or (2, kvN * D)
  GM_ADDR antiquant_offset;  ///< like antiquant_scale
  GM_ADDR block_table;       ///< int32 (B, maxBlocks)
  GM_ADDR kv_padding;        ///< int64 (1)
  GM_ADDR output;            ///< T or int8 (B, N, D)
  GM_ADDR workspace;         ///< DecodeTiling::workspaceBytes
};

}  // namespace ifa::ascendc
