// The products of the cube path on a cube core: [heads][k] from the left times a tile of keys (transposed) or
// values from the right, from global memory through L1, L0 and L0C into global memory. It knows nothing of
// rows, lengths or layouts.
#pragma once

#include "cube_plan.h"
#include "kernel_operator.h"

namespace ifa::ascendc {

/// @tparam T half or bfloat16_t: both operands; sums are fp32.
template <typename T>
class MatrixProducts {
 public:
  __aicore__ inline void Init(AscendC::TPipe *pipe, uint32_t group, uint32_t head_size, uint32_t tile_rows) {
    const OperandSlots plan = PlanOperandSlots(group, head_size, tile_rows);
    group_ = group;
    heads_ = plan.heads;
    head_size_ = head_size;
    width_ = RoundUp(head_size, kFractal);
    tile_rows_ = tile_rows;
    left_elements_ = plan.left_bytes / sizeof(T);
    pipe->InitBuffer(slots_, plan.count, plan.bytes);
    pipe->InitBuffer(lefts_, 2, kL0aBytes / 2);
    pipe->InitBuffer(rights_, 2, kL0bBytes / 2);
    pipe->InitBuffer(sums_, 2, kL0cBytes / 2);
    if (heads_ > group_) ZeroSpareHeads(plan.count);
  }

  /// Takes the next slot of L1; Multiply...() gives it back.
  __aicore__ inline AscendC::LocalTensor<T> OpenSlot() { return slots_.template AllocTensor<T>(); }

  /// Copies the left operand: `group` rows of `width` elements, each `pitch` from the next.
  __aicore__ inline void LoadLeft(const AscendC::LocalTensor<T> &slot, const AscendC::GlobalTensor<T> &rows,
                                  uint32_t width, uint32_t pitch) {
    LoadRows(slot, rows, group_, width, pitch, heads_);
  }

  /// Copies `count` rows of keys or values, each `pitch` elements from the next, to the tile's rows from
  /// `first` on.
  __aicore__ inline void LoadRight(const AscendC::LocalTensor<T> &slot, const AscendC::GlobalTensor<T> &rows,
                                   uint32_t first, uint32_t count, uint64_t pitch) {
    const AscendC::LocalTensor<T> tile = slot[left_elements_ + first * kFractal];
    if (pitch <= kMaxRowPitch) return LoadRows(tile, rows, count, head_size_, pitch, tile_rows_);
    for (uint32_t row = 0; row < count; ++row) {
      LoadRows(tile[row * kFractal], rows[row * pitch], 1, head_size_, head_size_, tile_rows_);
    }
  }

  /// scores [group][count] = left [group][head_size] x tile [count][head_size] transposed; rows of `out` are
  /// `tile_rows` apart, and written up to a multiple of 16 columns.
  __aicore__ inline void MultiplyByKeys(AscendC::LocalTensor<T> &slot, uint32_t count,
                                        const AscendC::GlobalTensor<float> &out) {
    const uint32_t columns = RoundUp(count, kFractal);
    Multiply(slot, count, {width_, columns, tile_rows_ / kFractal, 1, false}, out, tile_rows_);
  }

  /// outputs [group][head_size] = left [group][count] x tile [count][head_size]; rows of `out` are head_size
  /// rounded up to 16 apart.
  __aicore__ inline void MultiplyByValues(AscendC::LocalTensor<T> &slot, uint32_t count,
                                          const AscendC::GlobalTensor<float> &out) {
    const uint32_t depth = RoundUp(count, kFractal);
    Multiply(slot, count, {depth, width_, 1, tile_rows_ / kFractal, true}, out, width_);
  }

 private:
  // Nd2NzParams::srcDValue has 16 bits.
  static constexpr uint64_t kMaxRowPitch = 65535;

  // A right operand of depth x columns, and where its fractals lie in L1: (depth, columns) of 16 each at
  // depth * depth_step + columns * column_step.
  struct Right {
    uint32_t depth;
    uint32_t columns;
    uint32_t depth_step;
    uint32_t column_step;
    bool transposed;  // fractals hold the depth in their rows
  };

  /// Rows that no query head fills take part in the products, as a left operand of one row would be read in
  /// another format; they are zero once for all, as the copies never touch them.
  __aicore__ inline void ZeroSpareHeads(uint32_t slots) {
    const uint16_t spare = heads_ - group_;
    const uint16_t columns = left_elements_ / heads_ / kFractal;
    for (uint32_t i = 0; i < slots; ++i) {
      AscendC::LocalTensor<T> slot = slots_.template AllocTensor<T>();
      Zero(slot[group_ * kFractal], columns, spare, group_);
      slots_.EnQue(slot);
      slot = slots_.template DeQue<T>();
      slots_.FreeTensor(slot);
    }
  }

  /// `blocks` blocks of 32 bytes in each of `repeats` places, `gap` blocks from the end of one to the next.
  __aicore__ inline void Zero(const AscendC::LocalTensor<T> &blocks, uint16_t repeats, uint16_t count,
                              uint16_t gap) {
    AscendC::InitConstValue(
        blocks.template ReinterpretCast<half>(),
        AscendC::InitConstValueParams<half>(repeats, count, gap, static_cast<half>(0.0F)));
  }

  /// From rows of elements to columns of fractals of `column_rows` rows; fills the last fractal's width with
  /// 0.
  __aicore__ inline void LoadRows(const AscendC::LocalTensor<T> &to, const AscendC::GlobalTensor<T> &from,
                                  uint32_t rows, uint32_t width, uint32_t pitch, uint32_t column_rows) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = rows;
    params.dValue = width;
    params.srcNdMatrixStride = 0;
    params.srcDValue = pitch;
    params.dstNzC0Stride = column_rows;
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = 0;
    AscendC::DataCopy(to, from, params);
  }

  __aicore__ inline void Multiply(AscendC::LocalTensor<T> &slot, uint32_t count, const Right &right,
                                  const AscendC::GlobalTensor<float> &out, uint32_t pitch) {
    ZeroSpareRows(slot, count);
    slots_.EnQue(slot);
    slot = slots_.template DeQue<T>();
    const uint32_t most_columns = kL0cBytes / 2 / sizeof(float) / heads_ / kFractal * kFractal;
    for (uint32_t column = 0; column < right.columns; column += most_columns) {
      const uint32_t columns = Min(most_columns, right.columns - column);
      Sum(slot, right, column, columns);
      Store(out[column], columns, pitch);
    }
    slots_.FreeTensor(slot);
  }

  /// The last fractals of a tile whose rows do not fill them: they would add what the slot held before.
  __aicore__ inline void ZeroSpareRows(const AscendC::LocalTensor<T> &slot, uint32_t count) {
    const uint16_t spare = RoundUp(count, kFractal) - count;
    if (spare == 0) return;
    Zero(slot[left_elements_ + count * kFractal], width_ / kFractal, spare, tile_rows_ - spare);
  }

  /// Sums [heads][columns] in L0C, in pieces of the depth that fit half of L0A and of L0B.
  __aicore__ inline void Sum(const AscendC::LocalTensor<T> &slot, const Right &right, uint32_t column,
                             uint32_t columns) {
    const uint32_t largest = columns > heads_ ? columns : heads_;
    const uint32_t most_depth = kL0bBytes / 2 / sizeof(T) / largest / kFractal * kFractal;
    AscendC::LocalTensor<float> sums = sums_.template AllocTensor<float>();
    for (uint32_t first = 0; first < right.depth; first += most_depth) {
      const uint32_t depth = Min(most_depth, right.depth - first);
      LoadLeftPiece(slot, first, depth);
      LoadRightPiece(slot[left_elements_], right, first, depth, column, columns);
      AscendC::LocalTensor<T> left_piece = lefts_.template DeQue<T>();
      AscendC::LocalTensor<T> right_piece = rights_.template DeQue<T>();
      if (first > 0) AscendC::PipeBarrier<PIPE_M>();
      AscendC::Mmad(sums, left_piece, right_piece,
                    AscendC::MmadParams(heads_, columns, depth, 0, false, first == 0));
      lefts_.FreeTensor(left_piece);
      rights_.FreeTensor(right_piece);
    }
    sums_.EnQue(sums);
  }

  __aicore__ inline void LoadLeftPiece(const AscendC::LocalTensor<T> &left, uint32_t first, uint32_t depth) {
    AscendC::LocalTensor<T> piece = lefts_.template AllocTensor<T>();
    const uint16_t rows = heads_ / kFractal;
    const uint8_t columns = depth / kFractal;
    for (uint16_t row = 0; row < rows; ++row) {
      AscendC::LoadData(
          piece[row * columns * kFractalElements], left,
          AscendC::LoadData2DParams(first / kFractal * rows + row, columns, rows, 0, 0, false, 0));
    }
    lefts_.EnQue(piece);
  }

  __aicore__ inline void LoadRightPiece(const AscendC::LocalTensor<T> &tile, const Right &right,
                                        uint32_t first, uint32_t depth, uint32_t column, uint32_t columns) {
    AscendC::LocalTensor<T> piece = rights_.template AllocTensor<T>();
    const uint8_t across = columns / kFractal;
    for (uint32_t row = 0; row < depth / kFractal; ++row) {
      const uint16_t start =
          (first / kFractal + row) * right.depth_step + column / kFractal * right.column_step;
      AscendC::LoadData(
          piece[row * across * kFractalElements], tile,
          AscendC::LoadData2DParams(start, across, right.column_step, 0, 0, right.transposed, 0));
    }
    rights_.EnQue(piece);
  }

  __aicore__ inline void Store(const AscendC::GlobalTensor<float> &out, uint32_t columns, uint32_t pitch) {
    AscendC::LocalTensor<float> sums = sums_.template DeQue<float>();
    AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(
        out, sums, AscendC::FixpipeParamsV220(columns, group_, heads_, pitch, false));
    sums_.FreeTensor(sums);
  }

  uint32_t group_ = 0;
  uint32_t heads_ = 0;  // of the left operand: group_ rounded up to 16
  uint32_t head_size_ = 0;
  uint32_t width_ = 0;  // head_size_ rounded up to 16
  uint32_t tile_rows_ = 0;
  uint32_t left_elements_ = 0;
  AscendC::TQue<AscendC::TPosition::A1, 1> slots_;
  AscendC::TQue<AscendC::TPosition::A2, 1> lefts_;
  AscendC::TQue<AscendC::TPosition::B2, 1> rights_;
  AscendC::TQue<AscendC::TPosition::CO1, 1> sums_;
};

}  // namespace ifa::ascendc
