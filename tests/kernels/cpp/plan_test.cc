// The division of a call into tasks: what no result shows, because a range read in vain only costs time.
#include <algorithm>
#include <vector>

#include "check.h"
#include "decode_attention.h"
#include "split_plan.h"

namespace ifa::cpu::test {
namespace {

constexpr int64_t kBatch = 3;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kLength = 20000;

DecodeAttentionArgs Args() {
  DecodeAttentionArgs args;
  args.batch = kBatch;
  args.query_heads = kKvHeads;
  args.kv_heads = kKvHeads;
  args.kv_length = kLength;
  args.head_size = 64;
  return args;
}

// "" when the tasks cover the positions of every (batch, KV head) once and in order.
std::string Coverage(const DecodeAttentionArgs &args, const SplitPlan &plan) {
  std::vector<int64_t> end(static_cast<size_t>(kBatch * kKvHeads));
  for (size_t row = 0; row < end.size(); ++row) {
    end[row] = PositionsOf(args, static_cast<int64_t>(row) / kKvHeads).first;
  }
  std::vector<int64_t> ranges(end.size(), 0);
  for (int64_t i = 0; i < plan.task_count(); ++i) {
    const SplitTask task = plan.Task(i);
    const auto row = static_cast<size_t>(task.batch * kKvHeads + task.kv_head);
    if (task.first != end[row] || task.range != ranges[row] || task.range >= task.ranges) {
      return "task " + std::to_string(i) + " starts at " + std::to_string(task.first) + ", not " +
             std::to_string(end[row]);
    }
    end[row] = task.last;
    ++ranges[row];
  }
  for (size_t row = 0; row < end.size(); ++row) {
    const int64_t last = PositionsOf(args, static_cast<int64_t>(row) / kKvHeads).last;
    if (end[row] != last) {
      return "row " + std::to_string(row) + " ends at " + std::to_string(end[row]) + ", not " +
             std::to_string(last);
    }
  }
  return "";
}

void EveryPositionBelongsToOneTask() {
  const int64_t lengths[kBatch] = {kLength, 0, 777};
  std::vector<uint8_t> mask(kBatch * kLength, 1);
  for (size_t i = 0; i < mask.size(); i += 150) {
    mask[i] = 0;
  }
  for (const bool masked : {false, true}) {
    for (const int threads : {1, 2, 7, 64}) {
      DecodeAttentionArgs args = Args();
      args.lengths = lengths;
      args.mask = masked ? mask.data() : nullptr;
      args.mask_batch_stride = kLength;
      SplitPlan plan;
      plan.Build(args, threads);
      Report("plan for " + std::to_string(threads) + (masked ? " threads, masked" : " threads"),
             Coverage(args, plan));
    }
  }
}

void EachBatchIsPlannedByItsOwnMask() {
  // Batch 0 hides nothing, batch 1 all but the first 100 positions, batch 2 everything.
  const int64_t stride = kLength + 5;
  std::vector<uint8_t> mask(static_cast<size_t>(kBatch * stride), 1);
  std::fill_n(mask.begin(), kLength, uint8_t{0});
  std::fill_n(mask.begin() + stride, 100, uint8_t{0});
  DecodeAttentionArgs args = Args();
  args.mask = mask.data();
  args.mask_batch_stride = stride;
  SplitPlan plan;
  plan.Build(args, 8);
  // Whole tiles of 32; the row without a visible position is read in full.
  const int64_t expected = kKvHeads * (kLength + 128 + kLength);
  const int64_t planned = plan.position_count();
  Report("positions to read",
         planned == expected ? "" : std::to_string(planned) + ", not " + std::to_string(expected));
  for (int64_t i = 0; i < plan.task_count(); ++i) {
    const SplitTask task = plan.Task(i);
    Report("masked tiles of batch " + std::to_string(task.batch),
           task.skip_masked == (task.batch != 2) ? "" : "skipped where all are masked, or read in vain");
  }
}

// A thread that loses its CPU keeps the task it is at. While that is an eighth of its share, the others
// finish the rest and the call waits for little.
void NoTaskIsMuchOfAThreadsShare() {
  const DecodeAttentionArgs args = Args();
  for (const int threads : {2, 4, 8}) {
    SplitPlan plan;
    plan.Build(args, threads);
    int64_t largest = 0;
    for (int64_t i = 0; i < plan.task_count(); ++i) {
      const SplitTask task = plan.Task(i);
      largest = std::max(largest, task.last - task.first);
    }
    const int64_t allowed = plan.position_count() / threads / 8;
    Report("largest task for " + std::to_string(threads) + " threads",
           largest <= allowed
               ? ""
               : std::to_string(largest) + " positions, not at most " + std::to_string(allowed));
  }
}

}  // namespace

void TestPlan() {
  EveryPositionBelongsToOneTask();
  EachBatchIsPlannedByItsOwnMask();
  NoTaskIsMuchOfAThreadsShare();
}

}  // namespace ifa::cpu::test
