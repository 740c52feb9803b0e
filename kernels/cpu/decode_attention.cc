// One call: plan, tasks handed out one by one, partial results merged by whoever finishes a row.
#include "decode_attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "attend_range.h"
#include "element_types.h"
#include "instruction_set.h"
#include "kv_walker.h"
#include "split_plan.h"
#include "thread_pool.h"
#include "validation.h"

namespace ifa::cpu {
namespace {

// A masked score of -1e12 weighs exp(-1e12 - maximum): exactly 0 in fp32 while the maximum is above this.
// Below it, positions that were skipped may matter.
constexpr float kMaskedMatterBelow = -0.99e12F;

// Waking a sleeping thread takes 5 to 50 us. A call of fewer bytes of K and V is over by then (5 to 10 GB/s a
// thread).
constexpr int64_t kBytesWorthAThread = 320 * 1024;

// Bounds the scratch memory of a call whatever was asked for.
constexpr int kMaxThreads = 1024;

// fp32 memory aligned for vectors and cache lines. It grows, and is kept by its thread for the next call.
class AlignedFloats {
 public:
  float *AtLeast(int64_t floats) {
    if (floats > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(static_cast<float *>(
          ::operator new(static_cast<size_t>(floats) * sizeof(float), std::align_val_t{kAlignment})));
      size_ = floats;
    }
    return memory_.get();
  }

 private:
  static constexpr size_t kAlignment = 64;
  struct Delete {
    void operator()(float *memory) const { ::operator delete(memory, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<float, Delete> memory_;
  int64_t size_ = 0;
};

// What a calling thread keeps between its calls.
struct CallMemory {
  SplitPlan plan;
  AlignedFloats floats;
  std::vector<std::atomic<int64_t>> pending;
};

// Of `tensor`: 0 for key, 1 for value.
Quantisation AntiquantOf(const DecodeAttentionArgs &args, int64_t tensor, int64_t kv_head) {
  const int64_t index =
      args.antiquant_per_tensor ? tensor : (tensor * args.kv_heads + kv_head) * args.head_size;
  const auto from = [&](const void *parameters) {
    return parameters == nullptr
               ? nullptr
               : static_cast<const std::byte *>(parameters) + index * ElementSize(args.dtype);
  };
  return {args.dtype, from(args.antiquant_scale), from(args.antiquant_offset), !args.antiquant_per_tensor};
}

Quantisation OutputQuantisationOf(const DecodeAttentionArgs &args, int64_t head) {
  const int64_t index = args.quant_per_channel ? head * args.head_size : 0;
  return {DataType::kFloat32, args.quant_scale == nullptr ? nullptr : args.quant_scale + index,
          args.quant_offset == nullptr ? nullptr : args.quant_offset + index, args.quant_per_channel};
}

HeadGroup GroupOf(const DecodeAttentionArgs &args, int64_t batch, int64_t kv_head) {
  const int64_t element = ElementSize(args.dtype);
  HeadGroup group;
  group.dtype = args.dtype;
  group.kv_dtype = args.kv_dtype;
  group.output_dtype = args.output_dtype;
  group.heads = args.query_heads / args.kv_heads;
  group.head_size = args.head_size;
  group.scale = args.scale;
  const int64_t head = kv_head * group.heads;
  group.query = static_cast<const std::byte *>(args.query) +
                (batch * args.query_strides.batch + head * args.query_strides.head) * element;
  group.query_stride = args.query_strides.head;
  if (args.pse_shift != nullptr) {
    group.pse_shift = static_cast<const std::byte *>(args.pse_shift) +
                      (batch * args.pse_batch_stride + head * args.pse_head_stride) * element;
    group.pse_stride = args.pse_head_stride;
  }
  group.output =
      static_cast<std::byte *>(args.output) +
      (batch * args.output_strides.batch + head * args.output_strides.head) * ElementSize(args.output_dtype);
  group.output_stride = args.output_strides.head;
  group.key_quantisation = AntiquantOf(args, 0, kv_head);
  group.value_quantisation = AntiquantOf(args, 1, kv_head);
  group.output_quantisation = OutputQuantisationOf(args, head);
  return group;
}

class Call {
 public:
  Call(const DecodeAttentionArgs &args, const RangeKernels &kernels, int threads, CallMemory *memory)
      : args_(args),
        kernels_(kernels),
        plan_(memory->plan),
        heads_(args.query_heads / args.kv_heads),
        threads_(threads),
        state_floats_(PartialSoftmaxFloats(heads_, args.head_size)),
        participant_floats_(state_floats_ + kernels.scratch_floats(heads_, args.head_size)) {
    partials_ = memory->floats.AtLeast(plan_.partial_count() * state_floats_ + threads * participant_floats_);
    participants_ = partials_ + plan_.partial_count() * state_floats_;
    if (static_cast<int64_t>(memory->pending.size()) < plan_.pending_count()) {
      memory->pending = std::vector<std::atomic<int64_t>>(static_cast<size_t>(plan_.pending_count()));
    }
    pending_ = memory->pending.data();
    for (int64_t i = 0; i < plan_.pending_count(); ++i) {
      pending_[i].store(0, std::memory_order_relaxed);
    }
  }

  // Takes tasks until none is left. A thread that loses its CPU keeps only the task that it is at.
  void TakeTasks(int participant) {
    float *memory = participants_ + participant * participant_floats_;
    for (int64_t index = next_task_++; index < plan_.task_count(); index = next_task_++) {
      // While all threads are equally fast they take tasks in turn.
      KvTile tile;
      const KvTile *following = FirstTile(index + threads_, &tile) ? &tile : nullptr;
      RunTask(plan_.Task(index), following, memory);
    }
  }

 private:
  KvWalker WalkerOf(const SplitTask &task) const {
    return KvWalker(args_, task.batch, task.kv_head, task.first, task.last, task.skip_masked);
  }

  // False where there is no such task, or it has no positions.
  bool FirstTile(int64_t index, KvTile *tile) const {
    return index < plan_.task_count() && WalkerOf(plan_.Task(index)).Next(tile);
  }

  PartialSoftmax StateIn(float *memory) const { return PartialSoftmaxIn(memory, heads_, args_.head_size); }

  void RunTask(const SplitTask &task, const KvTile *following, float *memory) {
    const HeadGroup group = GroupOf(args_, task.batch, task.kv_head);
    if (task.first == task.last) {
      return kernels_.write_zeros(group);
    }
    const KvWalker walker = WalkerOf(task);
    float *scratch = memory + state_floats_;
    if (task.ranges == 1) {
      kernels_.attend(group, walker, following, StateIn(memory), scratch);
      return Finish(group, task, StateIn(memory), scratch);
    }
    float *partials = partials_ + task.partials * state_floats_;
    kernels_.attend(group, walker, following, StateIn(partials + task.range * state_floats_), scratch);
    if (pending_[task.pending].fetch_add(1, std::memory_order_acq_rel) + 1 == task.ranges) {
      // The last one merges, always in the order of positions: results do not depend on which thread was
      // faster.
      for (int64_t range = 1; range < task.ranges; ++range) {
        kernels_.merge(group, StateIn(partials + range * state_floats_), StateIn(partials));
      }
      Finish(group, task, StateIn(partials), scratch);
    }
  }

  // A head with a NaN among its scores, which its sum keeps, is NaN whatever the masked positions hold.
  bool MaskedMayMatter(const PartialSoftmax &total) const {
    bool may_matter = false;
    for (int64_t h = 0; h < heads_; ++h) {
      may_matter |= total.max[h] <= kMaskedMatterBelow && !std::isnan(total.sum[h]);
    }
    return may_matter;
  }

  void Finish(const HeadGroup &group, const SplitTask &task, const PartialSoftmax &total, float *scratch) {
    if (args_.mask != nullptr && task.skip_masked && MaskedMayMatter(total)) {
      const PositionRange all = PositionsOf(args_, task.batch);
      kernels_.attend(group, KvWalker(args_, task.batch, task.kv_head, all.first, all.last, false), nullptr,
                      total, scratch);
    }
    kernels_.write(group, total);
  }

  const DecodeAttentionArgs &args_;
  const RangeKernels &kernels_;
  const SplitPlan &plan_;
  int64_t heads_;
  int threads_;
  int64_t state_floats_;
  int64_t participant_floats_;
  float *partials_;
  float *participants_;
  std::atomic<int64_t> *pending_;
  std::atomic<int64_t> next_task_{0};
};

}  // namespace

void DecodeAttention(const DecodeAttentionArgs &args, const ExecutionOptions &options) {
  Validate(args, options);
  static thread_local CallMemory memory;
  const int64_t threads_allowed =
      std::min(options.threads > 0 ? options.threads : ThreadCount(), kMaxThreads);
  memory.plan.Build(args, static_cast<int>(threads_allowed));
  const int64_t bytes = memory.plan.position_count() * 2 * args.head_size * ElementSize(args.kv_dtype);
  const auto threads =
      static_cast<int>(std::min({threads_allowed, memory.plan.task_count(), 1 + bytes / kBytesWorthAThread}));
  const RangeKernels &kernels = *UsableKernels(options.isa != nullptr ? *options.isa : BestInstructionSet());
  Call call(args, kernels, threads, &memory);
  if (threads == 1) {
    call.TakeTasks(0);
  } else {
    ThreadPool::Instance().Run(threads, [&call](int participant) { call.TakeTasks(participant); });
  }
}

}  // namespace ifa::cpu
