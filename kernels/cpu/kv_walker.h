// Walks the positions of one (batch, KV head) in tiles. It alone knows where the row of a position lies in
// memory and which positions need no reading; the arithmetic sees only tiles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "decode_attention.h"

namespace ifa::cpu {

/// Positions of a tile at most.
constexpr int kTilePositions = 32;

/// Up to kTilePositions neighbouring positions: K rows and V rows, each a stride of bytes from the next.
struct KvTile {
  const std::byte *key = nullptr;
  const std::byte *value = nullptr;
  int64_t key_row_bytes = 0;
  int64_t value_row_bytes = 0;
  int64_t position = 0;           ///< of the first row
  int count = 0;                  ///< rows, 1 to kTilePositions
  const uint8_t *mask = nullptr;  ///< `count` bytes, null when none of them hides its position
};

/// The rows of pse_shift of the query heads that share a KV head.
class PseRows {
 public:
  PseRows(const DecodeAttentionArgs &args, int64_t batch, int64_t kv_head);

  /// The first position in [first, last) at which a head has something other than -inf, or `last`.
  int64_t FirstShown(int64_t first, int64_t last) const;

 private:
  const std::byte *rows_;  // null where there is no pse_shift
  DataType dtype_;
  int64_t heads_;
  int64_t row_bytes_;
};

class KvWalker {
 public:
  /// Positions [first, last) of one KV head of one batch. With `skip_masked`, tiles start at a visible
  /// position, end with one, and so leave out every run of masked positions that reaches from one tile to the
  /// next. Of runs of positions that pse_shift sets to -inf for all query heads the same holds, but that the
  /// tile before may end with some of them.
  KvWalker(const DecodeAttentionArgs &args, int64_t batch, int64_t kv_head, int64_t first, int64_t last,
           bool skip_masked);

  /// False at the end; the tile is then left as it was.
  bool Next(KvTile *tile);

 private:
  void EnterRun();
  void SkipHidden();

  const std::byte *key_;    // the row of position 0; in a paged cache the first row of block 0
  const std::byte *value_;  // alike
  int64_t key_row_bytes_;
  int64_t value_row_bytes_;
  const uint8_t *mask_;
  int64_t tile_positions_;
  int64_t position_;
  int64_t last_;
  bool skip_masked_;
  PseRows pse_;

  const int32_t *blocks_;  // of the batch, null for a cache that is not paged
  int64_t block_size_;
  int64_t key_block_bytes_;
  int64_t value_block_bytes_;

  // Positions [run_first_, run_last_), whose rows lie at equal distances: a block, or all there are.
  int64_t run_first_;
  int64_t run_last_;
  const std::byte *run_key_;
  const std::byte *run_value_;
};

/// The first position in [first, last) that the mask shows, or `last`.
int64_t FirstVisible(const uint8_t *mask, int64_t first, int64_t last);

}  // namespace ifa::cpu
