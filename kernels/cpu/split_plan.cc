#include "split_plan.h"

#include <algorithm>

#include "element_types.h"
#include "kv_walker.h"

namespace ifa::cpu {
namespace {

// So that a thread that loses its CPU for a while, or reads slower memory, holds up the call by little. More
// cost more than they save: each widens the query and writes G * D sums, which at eight heads of size 256 are
// 6 % of 128 KiB.
constexpr int64_t kTasksPerThread = 12;

// Of K and V. About 10 us of reading, against less than 1 us to start a task.
constexpr int64_t kMinTaskBytes = 96 * 1024;

// Bounds the memory of a plan, 8 bytes a task, and of partial results whatever the shape.
constexpr int64_t kMaxRangesPerRow = 1024;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

const uint8_t *MaskOf(const DecodeAttentionArgs &args, int64_t batch) {
  return args.mask == nullptr ? nullptr : args.mask + batch * args.mask_batch_stride;
}

// Positions of [first, last) in the tiles that have a visible one.
int64_t LivePositions(const uint8_t *mask, int64_t first, int64_t last) {
  int64_t live = 0;
  for (int64_t tile = first; tile < last; tile += kTilePositions) {
    const int64_t end = std::min(last, tile + kTilePositions);
    live += FirstVisible(mask, tile, end) < end ? end - tile : 0;
  }
  return live;
}

}  // namespace

PositionRange PositionsOf(const DecodeAttentionArgs &args, int64_t batch) {
  const int64_t length = args.lengths == nullptr ? args.kv_length : args.lengths[batch];
  const int64_t start = args.starts == nullptr ? 0 : args.starts[batch];
  return start < 0 || length == 0 ? PositionRange() : PositionRange{start, start + length};
}

void SplitPlan::Build(const DecodeAttentionArgs &args, int threads) {
  kv_heads_ = args.kv_heads;
  task_count_ = partial_count_ = pending_count_ = position_count_ = 0;
  batches_.resize(static_cast<size_t>(args.batch));
  cuts_.clear();
  for (int64_t b = 0; b < args.batch; ++b) {
    const PositionRange range = PositionsOf(args, b);
    const int64_t live =
        args.mask == nullptr ? range.count() : LivePositions(MaskOf(args, b), range.first, range.last);
    Batch &batch = batches_[static_cast<size_t>(b)];
    // A row without a visible position is uniform over all of them.
    batch.skip_masked = live > 0;
    batch.live = live > 0 ? live : range.count();
    position_count_ += batch.live * kv_heads_;
  }
  const int64_t position_bytes = 2 * args.head_size * ElementSize(args.kv_dtype);
  const int64_t smallest = std::max<int64_t>(kTilePositions, kMinTaskBytes / position_bytes);
  const int64_t target =
      threads == 1 ? INT64_MAX : std::max(smallest, position_count_ / (threads * kTasksPerThread));
  for (int64_t b = 0; b < args.batch; ++b) {
    Cut(args, b, target);
  }
}

// Cuts the positions of a batch into ranges of about `target` positions to read, each but the last whole
// tiles.
void SplitPlan::Cut(const DecodeAttentionArgs &args, int64_t b, int64_t target) {
  Batch &batch = batches_[static_cast<size_t>(b)];
  const PositionRange range = PositionsOf(args, b);
  const int64_t wanted = std::clamp<int64_t>(batch.live / target, 1, kMaxRangesPerRow);
  const int64_t share =
      std::max<int64_t>(1, CeilDivide(CeilDivide(batch.live, wanted), kTilePositions)) * kTilePositions;
  const uint8_t *mask = batch.skip_masked ? MaskOf(args, b) : nullptr;
  batch.first_cut = static_cast<int64_t>(cuts_.size());
  cuts_.push_back(range.first);
  if (wanted > 1 && mask == nullptr) {
    for (int64_t cut = range.first + share; cut < range.last; cut += share) {
      cuts_.push_back(cut);
    }
  } else if (wanted > 1) {
    int64_t live = 0;
    for (int64_t tile = range.first; tile + kTilePositions < range.last; tile += kTilePositions) {
      live += LivePositions(mask, tile, tile + kTilePositions);
      if (live >= share) {
        cuts_.push_back(tile + kTilePositions);
        live = 0;
      }
    }
  }
  cuts_.push_back(range.last);
  batch.ranges = static_cast<int64_t>(cuts_.size()) - batch.first_cut - 1;
  batch.first_task = task_count_;
  batch.first_partial = partial_count_;
  batch.first_pending = pending_count_;
  task_count_ += batch.ranges * kv_heads_;
  if (batch.ranges > 1) {
    partial_count_ += batch.ranges * kv_heads_;
    pending_count_ += kv_heads_;
  }
}

SplitTask SplitPlan::Task(int64_t index) const {
  const auto after = std::upper_bound(batches_.begin(), batches_.end(), index,
                                      [](int64_t i, const Batch &batch) { return i < batch.first_task; });
  const Batch &batch = *(after - 1);
  const int64_t within = index - batch.first_task;
  SplitTask task;
  task.batch = (after - 1) - batches_.begin();
  task.kv_head = within / batch.ranges;
  task.range = within % batch.ranges;
  const auto cut = static_cast<size_t>(batch.first_cut + task.range);
  task.first = cuts_[cut];
  task.last = cuts_[cut + 1];
  task.skip_masked = batch.skip_masked;
  task.ranges = batch.ranges;
  task.partials = batch.first_partial + task.kv_head * batch.ranges;
  task.pending = batch.first_pending + task.kv_head;
  return task;
}

}  // namespace ifa::cpu
