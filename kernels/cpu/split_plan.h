// Divides a call into tasks: batch x KV head x ranges of positions, of about equal numbers of positions to
// read.
#pragma once

#include <cstdint>
#include <vector>

#include "decode_attention.h"

namespace ifa::cpu {

/// Part of one (batch, KV head).
struct SplitTask {
  int64_t batch = 0;
  int64_t kv_head = 0;
  int64_t first = 0;  ///< positions [first, last), empty when the batch has none
  int64_t last = 0;
  bool skip_masked = false;
  int64_t ranges = 1;    ///< tasks that make up the (batch, KV head)
  int64_t range = 0;     ///< this one among them
  int64_t partials = 0;  ///< with ranges > 1: the place of the first one's partial result
  int64_t pending = 0;   ///< with ranges > 1: the place of the (batch, KV head) among those that are split
};

/// The positions [first, last) of a batch that a call attends to; 0 and 0 when it has none.
struct PositionRange {
  int64_t first = 0;
  int64_t last = 0;

  int64_t count() const { return last - first; }
};
PositionRange PositionsOf(const DecodeAttentionArgs &args, int64_t batch);

class SplitPlan {
 public:
  /// Replaces the plan; memory is kept from one call to the next.
  void Build(const DecodeAttentionArgs &args, int threads);

  int64_t task_count() const { return task_count_; }
  SplitTask Task(int64_t index) const;

  int64_t partial_count() const { return partial_count_; }    ///< tasks whose result has to be merged
  int64_t pending_count() const { return pending_count_; }    ///< (batch, KV head)s that are split
  int64_t position_count() const { return position_count_; }  ///< (batch, KV head, position)s to read

 private:
  struct Batch {
    int64_t first_task;
    int64_t first_cut;  // cuts_[first_cut .. first_cut + ranges]
    int64_t ranges;
    int64_t live;  // positions to read
    int64_t first_partial;
    int64_t first_pending;
    bool skip_masked;
  };

  void Cut(const DecodeAttentionArgs &args, int64_t batch, int64_t target);

  int64_t kv_heads_ = 0;
  int64_t task_count_ = 0;
  int64_t partial_count_ = 0;
  int64_t pending_count_ = 0;
  int64_t position_count_ = 0;
  std::vector<Batch> batches_;
  std::vector<int64_t> cuts_;
};

}  // namespace ifa::cpu
