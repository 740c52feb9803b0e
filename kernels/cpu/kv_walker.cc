#include "kv_walker.h"

#include <algorithm>
#include <cstring>

#include "element_types.h"

namespace ifa::cpu {
namespace {

// K of a tile at most, if that makes 16 positions: with V, and with the next tile, which is prefetched
// meanwhile, a little more than a first-level cache of 48 KiB. 16 to 32 positions measured best, 64 and more
// lose to cache misses.
constexpr int64_t kTileBytes = 16 * 1024;
constexpr int64_t kFewestTilePositions = 16;

// The row of position 0; in a paged cache, of which a batch owns no part, the first row of block 0.
const std::byte *HeadBase(const DecodeAttentionArgs &args, const void *tensor, const Strides &strides,
                          int64_t batch, int64_t kv_head) {
  const int64_t outer = args.block_table == nullptr ? batch * strides.batch : 0;
  return static_cast<const std::byte *>(tensor) +
         (outer + kv_head * strides.head) * ElementSize(args.kv_dtype);
}

// The first element in [first, last) of a row that is not `value`, or `last`.
template <typename Bits>
int64_t FirstOther(const std::byte *row, int64_t first, int64_t last, Bits value) {
  for (; first < last; ++first) {
    Bits element;
    std::memcpy(&element, row + first * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    if (element != value) {
      break;
    }
  }
  return first;
}

bool HasZeroByte(uint64_t bytes) {
  return ((bytes - 0x0101010101010101U) & ~bytes & 0x8080808080808080U) != 0;
}

}  // namespace

int64_t FirstVisible(const uint8_t *mask, int64_t first, int64_t last) {
  int64_t position = first;
  for (; position + 8 <= last; position += 8) {
    uint64_t bytes;
    std::memcpy(&bytes, mask + position, sizeof(bytes));
    if (HasZeroByte(bytes)) {
      break;
    }
  }
  while (position < last && mask[position] != 0) {
    ++position;
  }
  return position;
}

PseRows::PseRows(const DecodeAttentionArgs &args, int64_t batch, int64_t kv_head)
    : rows_(static_cast<const std::byte *>(args.pse_shift)),
      dtype_(args.dtype),
      heads_(args.query_heads / args.kv_heads),
      row_bytes_(args.pse_head_stride * ElementSize(args.dtype)) {
  if (rows_ != nullptr) {
    rows_ += batch * args.pse_batch_stride * ElementSize(args.dtype) + kv_head * heads_ * row_bytes_;
  }
}

int64_t PseRows::FirstShown(int64_t first, int64_t last) const {
  if (rows_ == nullptr) {
    return first;
  }
  for (int64_t h = 0; h < heads_ && first < last; ++h) {
    const std::byte *row = rows_ + h * row_bytes_;
    switch (dtype_) {
      case DataType::kFloat16:
        last = FirstOther<uint16_t>(row, first, last, 0xFC00);
        break;
      case DataType::kBFloat16:
        last = FirstOther<uint16_t>(row, first, last, 0xFF80);
        break;
      default:
        last = FirstOther<uint32_t>(row, first, last, 0xFF800000);
    }
  }
  return last;
}

KvWalker::KvWalker(const DecodeAttentionArgs &args, int64_t batch, int64_t kv_head, int64_t first,
                   int64_t last, bool skip_masked)
    : key_(HeadBase(args, args.key, args.key_strides, batch, kv_head)),
      value_(HeadBase(args, args.value, args.value_strides, batch, kv_head)),
      key_row_bytes_(args.key_strides.position * ElementSize(args.kv_dtype)),
      value_row_bytes_(args.value_strides.position * ElementSize(args.kv_dtype)),
      mask_(args.mask == nullptr ? nullptr : args.mask + batch * args.mask_batch_stride),
      tile_positions_(std::clamp<int64_t>(kTileBytes / (args.head_size * ElementSize(args.kv_dtype)),
                                          kFewestTilePositions, kTilePositions)),
      position_(first),
      last_(last),
      skip_masked_(skip_masked),
      pse_(args, batch, kv_head),
      blocks_(args.block_table == nullptr ? nullptr : args.block_table + batch * args.max_blocks),
      block_size_(args.block_size),
      key_block_bytes_(args.key_strides.batch * ElementSize(args.kv_dtype)),
      value_block_bytes_(args.value_strides.batch * ElementSize(args.kv_dtype)),
      run_first_(0),
      run_last_(blocks_ == nullptr ? last : first),
      run_key_(key_),
      run_value_(value_) {}

// The block that holds position_.
void KvWalker::EnterRun() {
  const int64_t index = position_ / block_size_;
  const int64_t block = blocks_[index];
  run_first_ = index * block_size_;
  run_last_ = std::min(last_, run_first_ + block_size_);
  run_key_ = key_ + block * key_block_bytes_;
  run_value_ = value_ + block * value_block_bytes_;
}

// Where masked positions count, -inf hides nothing: the mask replaces it.
void KvWalker::SkipHidden() {
  int64_t from;
  do {
    from = position_;
    if (mask_ != nullptr) {
      position_ = FirstVisible(mask_, position_, last_);
    }
    position_ = pse_.FirstShown(position_, last_);
  } while (position_ != from && mask_ != nullptr);
}

bool KvWalker::Next(KvTile *tile) {
  if (skip_masked_) {
    SkipHidden();
  }
  if (position_ >= last_) {
    return false;
  }
  if (position_ >= run_last_) {
    EnterRun();
  }
  auto count = std::min(tile_positions_, run_last_ - position_);
  tile->key = run_key_ + (position_ - run_first_) * key_row_bytes_;
  tile->value = run_value_ + (position_ - run_first_) * value_row_bytes_;
  tile->key_row_bytes = key_row_bytes_;
  tile->value_row_bytes = value_row_bytes_;
  tile->position = position_;
  tile->mask = nullptr;
  position_ += count;
  if (mask_ != nullptr) {
    const uint8_t *mask = mask_ + tile->position;
    while (skip_masked_ && mask[count - 1] != 0) {
      --count;
    }
    if (std::any_of(mask, mask + count, [](uint8_t hidden) { return hidden != 0; })) {
      tile->mask = mask;
    }
  }
  tile->count = static_cast<int>(count);
  return true;
}

}  // namespace ifa::cpu
