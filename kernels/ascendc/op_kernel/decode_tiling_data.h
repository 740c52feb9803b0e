// What the host tells the device of one call: its sizes, and which core works on what. Plain data that both
// sides compile; the host fills it in op_host/decode_tiling.cc.
#pragma once

#include <cstdint>

namespace ifa::ascendc {

/// Cores of one launch: the 48 vector cores of an Ascend 910B1.
constexpr uint32_t kMaxCores = 48;

/// Where the element of a position, KV head h and channel d lies in key and value.
constexpr uint32_t kLayoutBsh = 0;         ///< (B, S, kvN * D)
constexpr uint32_t kLayoutBnsd = 1;        ///< (B, kvN, S, D)
constexpr uint32_t kLayoutBlocksBsh = 2;   ///< (blocks, blockSize, kvN * D)
constexpr uint32_t kLayoutBlocksBnsd = 3;  ///< (blocks, kvN, blockSize, D)

/// Of quantisation parameters.
constexpr uint32_t kParameterNone = 0;
constexpr uint32_t kParameterPerTensor = 1;
constexpr uint32_t kParameterPerChannel = 2;  ///< antiquant (2, kvN * D), quant (N * D)

constexpr uint32_t kPathVector = 0;  ///< `cores` are vector cores
constexpr uint32_t kPathCube = 1;    ///< `cores` are cube cores, each with its two vector cores

/// Tiling keys: the path, the type of query and of the matrix products, and whether the cache is int8.
constexpr uint64_t kKeyVectorHalf = 1;
constexpr uint64_t kKeyCubeHalf = 2;
constexpr uint64_t kKeyCubeBfloat16 = 3;
constexpr uint64_t kKeyCubeHalfInt8Cache = 4;
constexpr uint64_t kKeyCubeBfloat16Int8Cache = 5;

/// Floats of a partial result's maximum, and of its sum, for one query head: a block of 32 bytes each.
constexpr uint32_t kStatisticsFloats = 8;

/// A row is a (batch, KV head), number b * kvHeads + h; it has ceil(L_b / grainRows) grains of grainRows
/// positions, L_b being its length where the host knows it and S where it does not. Core c works on the
/// grains from (startRow[c], startGrain[c]) up to but not including (startRow[c + 1], startGrain[c + 1]), in
/// the order of (row, grain), and at least on one row or grain; the last entry is (rows, 0). A row without
/// grains belongs to the core in whose range (row, 0) lies. A row that a range begins or ends within is a
/// split one: each core writes its share to a slot of the partials, 2 * c for the first row of its range and
/// 2 * c + 1 for the last if that is another.
///
/// Sizes are of elements unless they are called bytes. Offsets into the workspace are of bytes and multiples
/// of 512.
struct DecodeTiling {
  uint32_t batch;     ///< B
  uint32_t heads;     ///< N
  uint32_t kvHeads;   ///< kvN
  uint32_t group;     ///< G = N / kvN, 1 to 64
  uint32_t headSize;  ///< D, 1 to 512
  uint32_t length;    ///< S; with a block table maxBlocks * blockSize

  uint32_t kvLayout;   ///< kLayout...
  uint32_t blockSize;  ///< 0 without a block table
  uint32_t maxBlocks;  ///< columns of the block table; 0 without

  uint32_t lengthCount;  ///< actual_seq_lengths: 0 (none, S for all), 1 (for all) or B
  uint32_t hasPadding;   ///< kv_padding_size is to be read
  uint32_t maskStride;   ///< last dimension of attn_mask, 0 without
  uint32_t pseStride;    ///< last dimension of pse_shift, 0 without
  uint32_t pseBatches;   ///< first dimension of pse_shift, 1 or B; 0 without

  uint32_t antiquant;           ///< kParameter..., of an int8 cache
  uint32_t hasAntiquantOffset;  ///< of the same shape
  uint32_t quant;               ///< kParameter..., of an int8 output
  uint32_t hasQuantOffset;      ///< of the same shape
  float scale;                  ///< of the scores

  uint32_t path;          ///< kPath...
  uint32_t tileRows;      ///< most positions of a tile, which is what a core works on at once
  uint32_t grainRows;     ///< positions of a grain, in which rows are dealt to cores
  uint32_t cores;         ///< that have work, 1 to kMaxCores; the blocks of the launch
  uint32_t hasSplitRows;  ///< 0: no partial is written
  uint32_t startRow[kMaxCores + 1];
  uint32_t startGrain[kMaxCores + 1];

  uint64_t partialOffset;  ///< fp32 [2 * cores][group][headSize rounded up to 16]: unnormalised outputs
  uint64_t
      statisticsOffset;     ///< fp32 [2 * cores][group][2][kStatisticsFloats]: their maxima, then their sums
  uint64_t privateOffset;   ///< [cores][privateBytes]: what a core passes between its cube and vector units
  uint64_t privateBytes;    ///< multiple of 512; memory_plan.h divides it
  uint64_t workspaceBytes;  ///< all of these
};

}  // namespace ifa::ascendc
