// Attention with the matrix unit, for groups of query heads that share a KV head, and for what the vector
// unit cannot multiply: a cube core and its two vector cores work on one range of tiles, each at its own
// pace.
#pragma once

#include "cube_core.h"
#include "cube_exchange.h"
#include "cube_vector_core.h"
#include "decode_arguments.h"
#include "decode_tiling_data.h"
#include "kernel_operator.h"

namespace ifa::ascendc {

/// Runs this core's part.
/// @tparam Query half or bfloat16_t, of query and output
/// @tparam int8_cache of key and value, which are Query otherwise
template <typename Query, bool int8_cache>
__aicore__ inline void RunCubePath(AscendC::TPipe *pipe, const DecodeTiling &tiling,
                                   const DecodeArguments &arguments) {
  using T = typename MatrixType<Query, int8_cache>::Type;
  CubeExchange<T> exchange;
  if ASCEND_IS_AIC {
    const auto core = static_cast<uint32_t>(AscendC::GetBlockIdx());
    exchange.Init(tiling, core, arguments.workspace, int8_cache);
    CubeCore<T, int8_cache> cube;
    cube.Init(pipe, tiling, arguments, core, exchange);
    cube.Run();
  }
  if ASCEND_IS_AIV {
    const auto core = static_cast<uint32_t>(AscendC::GetBlockIdx() / AscendC::GetSubBlockNum());
    exchange.Init(tiling, core, arguments.workspace, int8_cache);
    CubeVectorCore<Query, T, int8_cache> vector;
    vector.Init(pipe, tiling, arguments, core, exchange);
    vector.Run();
  }
}

}  // namespace ifa::ascendc
