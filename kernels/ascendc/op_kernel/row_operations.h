// Vector operations on [rows][pitch] of fp32 in the unified buffer: each row with its own factor, each row to
// one number, all rows to one row. `pitch` is a multiple of 16 up to 512, `rows` at most 255 (what one
// instruction repeats). Each function wants its operands ordered before it and orders its results after it.
#pragma once

#include "kernel_operator.h"
#include "memory_plan.h"
#include "pipe_order.h"

namespace ifa::ascendc {

enum class RowOperation : uint8_t { kSubtract, kMultiply, kDivide };
enum class Reduction : uint8_t { kMax, kSum };

/// to[r][c] = from[r][c] (op) blocks[r]. `to` may be `from`.
/// @param blocks [rows][8]: each row's factor eight times, which an instruction reads as one block.
template <RowOperation op>
__aicore__ inline void CombineRows(const AscendC::LocalTensor<float> &to,
                                   const AscendC::LocalTensor<float> &from,
                                   const AscendC::LocalTensor<float> &blocks, uint32_t rows, uint32_t pitch) {
  const auto step = static_cast<uint8_t>(pitch / kBlockFloats);
  const AscendC::BinaryRepeatParams strides(1, 1, 0, step, step, 1);
  for (uint32_t column = 0; column < pitch; column += kLanes) {
    const uint64_t lanes = Min(kLanes, pitch - column);
    if constexpr (op == RowOperation::kSubtract) {
      AscendC::Sub(to[column], from[column], blocks, lanes, rows, strides);
    } else if constexpr (op == RowOperation::kMultiply) {
      AscendC::Mul(to[column], from[column], blocks, lanes, rows, strides);
    } else {
      AscendC::Div(to[column], from[column], blocks, lanes, rows, strides);
    }
  }
  OrderVector();
}

/// One instruction, which leaves the order to its caller: result[r] from the first `lanes` (up to 64) of each
/// row.
template <Reduction op>
__aicore__ inline void ReduceLanes(const AscendC::LocalTensor<float> &result,
                                   const AscendC::LocalTensor<float> &from, uint32_t lanes, uint32_t rows,
                                   uint32_t pitch) {
  const auto step = static_cast<int32_t>(pitch / kBlockFloats);
  const auto mask = static_cast<int32_t>(lanes);
  const auto repeats = static_cast<int32_t>(rows);
  if constexpr (op == Reduction::kMax) {
    AscendC::WholeReduceMax(result, from, mask, repeats, 1, 1, step, AscendC::ReduceOrder::ORDER_ONLY_VALUE);
  } else {
    AscendC::WholeReduceSum(result, from, mask, repeats, 1, 1, step);
  }
}

/// tensor[0][c] = the maximum or sum of tensor[0 .. rows)[c], in a tree; the other rows are destroyed. Any
/// number of rows, any pitch that is a multiple of 8.
template <Reduction op>
__aicore__ inline void FoldRows(const AscendC::LocalTensor<float> &tensor, uint32_t rows, uint32_t pitch) {
  while (rows > 1) {
    const uint32_t kept = CeilDiv(rows, 2);
    const auto count = static_cast<int32_t>((rows - kept) * pitch);
    if constexpr (op == Reduction::kMax) {
      AscendC::Max(tensor, tensor, tensor[kept * pitch], count);
    } else {
      AscendC::Add(tensor, tensor, tensor[kept * pitch], count);
    }
    OrderVector();
    rows = kept;
  }
}

/// result[r] = the maximum or sum of from[r][0 .. pitch).
/// @param result [pitch / 64 rounded up][rows rounded up to 8], initialised (whole blocks of it are read);
/// rows behind the first are scratch
template <Reduction op>
__aicore__ inline void ReduceRows(const AscendC::LocalTensor<float> &result,
                                  const AscendC::LocalTensor<float> &from, uint32_t rows, uint32_t pitch) {
  const uint32_t padded_rows = RoundUp(rows, kBlockFloats);
  for (uint32_t column = 0; column < pitch; column += kLanes) {
    ReduceLanes<op>(result[column / kLanes * padded_rows], from[column], Min(kLanes, pitch - column), rows,
                    pitch);
  }
  OrderVector();
  FoldRows<op>(result, CeilDiv(pitch, kLanes), padded_rows);
}

/// blocks[r][0 .. 8) = values[r]. Reads and writes whole groups of 8 rows.
__aicore__ inline void BroadcastRows(const AscendC::LocalTensor<float> &blocks,
                                     const AscendC::LocalTensor<float> &values, uint32_t rows) {
  AscendC::Brcb(blocks, values, static_cast<uint8_t>(CeilDiv(rows, kBlockFloats)), {1, kBlockFloats});
  OrderVector();
}

}  // namespace ifa::ascendc
