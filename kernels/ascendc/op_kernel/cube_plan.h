// The cube path's sizes, all derived here: positions of a tile, the slots of a cube core's L1 and L0, the
// rings in global memory through which a cube core and its vector cores pass their results.
#pragma once

#include <cstdint>

#include "memory_plan.h"

namespace ifa::ascendc {

/// Rows and columns of a fractal, the square in which the cube unit takes 16-bit operands.
constexpr uint32_t kFractal = 16;
constexpr uint32_t kFractalElements = kFractal * kFractal;

/// Tiles that the cube core's scores run ahead of its outputs: while it loads that many tiles of keys and of
/// values, the scores go to the vector cores and return as weights.
constexpr uint32_t kScoreLead = 4;
/// Tiles after its weights at which the vector cores take a tile's outputs; not before they are computed, so
/// that nobody waits for outputs who has weights to make.
constexpr uint32_t kOutputLag = 4;
/// Tiles before its weights at which the vector cores widen an int8 cache's keys. Values are widened
/// kScoreLead tiles after the keys, which is when the cube core wants them.
constexpr uint32_t kWidenLead = 4;

/// Slots of the rings in global memory. A slot is written anew only after the writer has waited for a result
/// that came from its old content, which these numbers bring about without further flags: before the weights
/// of tile i a vector core has waited for the scores up to i - 1 and, as it may take two tiles' at a time,
/// for the outputs up to i - 2 - kOutputLag, and before the outputs of tile j a cube core has waited for the
/// weights up to j, whose flags follow the outputs up to j - 2 - kOutputLag.
constexpr uint32_t kRingSlots = kOutputLag + 2;
constexpr uint32_t kWidenedSlots = kWidenLead - kScoreLead + kRingSlots;
static_assert(kOutputLag >= kScoreLead && kWidenLead >= kScoreLead && kWidenedSlots > kWidenLead &&
              kRingSlots > kWidenLead && kRingSlots % 2 == 0);

/// Bytes of one tile of keys or values in global memory: large enough for long copies, small enough for
/// several in flight in L1, where an int8 cache's take twice as many.
constexpr uint32_t kCubeTileBytes = 64 * 1024;
/// As many as one instruction steps over from one row of scores to the next (row_operations.h).
constexpr uint32_t kCubeMaxTileRows = 512;

/// Elements of a chunk, which is what a vector core works on at once: some heads' scores of a tile, or some
/// heads' outputs, in fp32. An int8 cache leaves less of the unified buffer to them.
constexpr IFA_SHARED uint32_t ChunkElements(bool int8_cache) { return int8_cache ? 2048 : 4096; }

/// Buffers through which a vector core reads and writes (vector_staging.h). What arrives is a chunk, or rows
/// of an int8 cache; what departs is a chunk's weights, or those rows as half. Enough of them to hide the
/// latency of global memory, which is of the order of a copy's time.
struct StagingPlan {
  uint32_t arrivals;
  uint32_t arrival_bytes;
  uint32_t departures;
  uint32_t departure_bytes;
};

constexpr IFA_SHARED StagingPlan PlanStaging(uint32_t group, uint32_t head_size, bool int8_cache) {
  const uint32_t chunk_bytes = ChunkElements(int8_cache) * sizeof(float);
  // The outputs of many heads, and what wide ones need besides, leave less room.
  const uint32_t width = RoundUp(head_size, kFractal);
  const uint32_t outputs = CeilDiv(group, 2) * width;
  const bool is_crowded = outputs > 2048;
  if (!int8_cache) return {is_crowded ? 2U : 3U, chunk_bytes, 2, chunk_bytes / 2};
  if (is_crowded) return {3, chunk_bytes, 2, 2 * chunk_bytes};
  if (outputs > 1024 || width > 256) return {4, 2 * chunk_bytes, 3, 2 * chunk_bytes};
  // Five arrivals hold what is widened, or is on its way to be, and a tile's scores and outputs.
  return {5, 2 * chunk_bytes, 5, chunk_bytes};
}

/// A chunk's heads begin at a multiple of this (online_softmax.h).
constexpr uint32_t kChunkHeads = 8;

/// Positions of a tile, a multiple of 16: the scores of a vector core's heads, or of kChunkHeads of them,
/// must fit a chunk, and half of L0C those of all heads.
constexpr IFA_SHARED uint32_t CubeTileRows(uint32_t group, uint32_t head_size, bool int8_cache) {
  const uint32_t elements = kCubeTileBytes / (int8_cache ? 1 : sizeof(uint16_t));
  const uint32_t fitting = elements / RoundUp(head_size, kFractal) / kFractal * kFractal;
  const uint32_t chunk_heads = Min(kChunkHeads, CeilDiv(group, 2));
  const uint32_t of_chunk = ChunkElements(int8_cache) / chunk_heads / kFractal * kFractal;
  const uint32_t of_sums = kL0cBytes / 2 / sizeof(float) / RoundUp(group, kFractal) / kFractal * kFractal;
  return Min(Min(kCubeMaxTileRows, fitting), Min(of_chunk, of_sums));
}

/// A slot of L1 holds both operands of one product: a tile, and before it the rows of the query heads, which
/// are queries (head_size wide) or weights (a tile's positions wide).
struct OperandSlots {
  uint32_t heads;       ///< rows of the left operand, a multiple of 16
  uint32_t left_bytes;  ///< of [heads][max(head_size, tile_rows)]
  uint32_t bytes;
  uint32_t count;
};

constexpr IFA_SHARED OperandSlots PlanOperandSlots(uint32_t group, uint32_t head_size, uint32_t tile_rows) {
  const uint32_t heads = RoundUp(group, kFractal);
  const uint32_t width = RoundUp(head_size, kFractal);
  const uint32_t left_bytes = heads * (width > tile_rows ? width : tile_rows) * sizeof(uint16_t);
  const uint32_t bytes = left_bytes + tile_rows * width * sizeof(uint16_t);
  const uint32_t fitting = kL1Bytes / bytes;
  // Each takes one of the eight events between two pipes.
  const uint32_t useful = Min(2 * kScoreLead + 1, 7);
  return {heads, left_bytes, bytes, Min(fitting, useful)};
}

/// Where a cube core and its vector cores leave their results for each other (cube_exchange.h): byte offsets
/// into the private part of the workspace that belongs to the core.
struct CubeRings {
  uint64_t weights;  ///< 16 bit [kRingSlots][group][tile_rows]; before it the scores, fp32 of the same shape
  uint64_t outputs;  ///< fp32 [kRingSlots][group][head_size rounded up to 16]
  uint64_t queries;  ///< 16 bit [kWidenedSlots][group][head_size rounded up to 16]; of an int8 cache, as the
                     ///< next two
  uint64_t keys;     ///< 16 bit [kWidenedSlots][tile_rows][head_size rounded up to 16]
  uint64_t values;   ///< 16 bit [kWidenedSlots][tile_rows][head_size rounded up to 16]
  uint64_t bytes;
};

constexpr IFA_SHARED CubeRings PlanCubeRings(uint32_t group, uint32_t head_size, bool int8_cache) {
  const uint64_t tile_rows = CubeTileRows(group, head_size, int8_cache);
  const uint64_t width = RoundUp(head_size, kFractal);
  const uint64_t widened = int8_cache ? kWidenedSlots * sizeof(uint16_t) : 0;
  CubeRings rings = {};
  rings.weights = kRingSlots * group * tile_rows * sizeof(float);
  rings.outputs = rings.weights + kRingSlots * group * tile_rows * sizeof(uint16_t);
  rings.queries = rings.outputs + kRingSlots * group * width * sizeof(float);
  rings.keys = rings.queries + widened * group * width;
  rings.values = rings.keys + widened * tile_rows * width;
  rings.bytes = rings.values + widened * tile_rows * width;
  return rings;
}

constexpr IFA_SHARED uint64_t CubePrivateBytes(uint32_t group, uint32_t head_size, bool int8_cache) {
  return PlanCubeRings(group, head_size, int8_cache).bytes;
}

}  // namespace ifa::ascendc
