#include "kernels/ascendc/op_host/decode_tiling.h"

#include <algorithm>

#include "kernels/ascendc/op_kernel/cube_plan.h"
#include "kernels/ascendc/op_kernel/memory_plan.h"
#include "kernels/cpu/decode_attention.h"
#include "kernels/cpu/operator_refusal.h"

namespace ifa::ascendc {
namespace {

using cpu::DecodeAttentionArgs;
using cpu::OperandType;
using cpu::OperatorCall;

// Offsets into the workspace: copies from and to global memory are fastest there (CANN's guide).
constexpr uint64_t kRegionAlignment = 512;

// Positions in which rows are dealt, where a tile is not smaller: few, so that cores end together.
constexpr uint32_t kGrainRows = 64;

// A core that works on less than this costs more to start than it saves.
constexpr uint64_t kMinGrainsPerCore = 4;

uint64_t RoundUp(uint64_t number, uint64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

uint32_t Narrow(int64_t number) { return static_cast<uint32_t>(number); }

void RefuseUnsupported(const OperatorCall &call, const DecodeAttentionArgs &args) {
  using cpu::RefusalKind;
  using cpu::Refuse;
  if (call.query.type == OperandType::kFloat32) {
    Refuse(RefusalKind::kTypeError, "query must be a tensor of Float16 or BFloat16 on Ascend, but got ",
           call.query.type_name, ".");
  }
  if (call.actual_seq_lengths.present() && call.actual_seq_lengths.type != OperandType::kInt64) {
    Refuse(RefusalKind::kTypeError, "actual_seq_lengths must be a tensor of Int64 on Ascend, but got ",
           call.actual_seq_lengths.type_name, ".");
  }
  // Positions are counted in 32 bits, a tile beyond the last one included.
  if (args.kv_length > INT32_MAX) {
    Refuse(RefusalKind::kRuntimeError, "key's length must be at most ", INT32_MAX, " on Ascend, but got ",
           args.kv_length, ".");
  }
}

uint32_t KvLayout(const OperatorCall &call) {
  if (call.block_table.present()) {
    return call.key.shape.size() == 3 ? kLayoutBlocksBsh : kLayoutBlocksBnsd;
  }
  return call.input_layout == static_cast<int64_t>(cpu::Layout::kBsh) ? kLayoutBsh : kLayoutBnsd;
}

uint32_t ParameterKind(const cpu::Operand &parameter, bool per_tensor) {
  if (!parameter.present()) return kParameterNone;
  return per_tensor ? kParameterPerTensor : kParameterPerChannel;
}

/// Everything but the tiles, the grains, the cores and the workspace.
DecodeTiling Describe(const OperatorCall &call, const DecodeAttentionArgs &args) {
  DecodeTiling tiling = {};
  tiling.batch = Narrow(args.batch);
  tiling.heads = Narrow(args.query_heads);
  tiling.kvHeads = Narrow(args.kv_heads);
  tiling.group = tiling.heads / tiling.kvHeads;
  tiling.headSize = Narrow(args.head_size);
  tiling.length = Narrow(args.kv_length);
  tiling.kvLayout = KvLayout(call);
  tiling.blockSize = Narrow(args.block_size);
  tiling.maxBlocks = Narrow(args.max_blocks);
  tiling.lengthCount = call.actual_seq_lengths.present() ? Narrow(call.actual_seq_lengths.shape[0]) : 0;
  tiling.hasPadding = cpu::IsLeftPadded(call);
  tiling.maskStride = call.attn_mask.present() ? Narrow(call.attn_mask.shape.back()) : 0;
  tiling.pseStride = call.pse_shift.present() ? Narrow(call.pse_shift.shape.back()) : 0;
  tiling.pseBatches = call.pse_shift.present() ? Narrow(call.pse_shift.shape.front()) : 0;
  tiling.antiquant = ParameterKind(call.antiquant_scale, args.antiquant_per_tensor);
  tiling.hasAntiquantOffset = call.antiquant_offset.present();
  tiling.quant = ParameterKind(call.quant_scale2, !args.quant_per_channel);
  tiling.hasQuantOffset = call.quant_offset2.present();
  tiling.scale = args.scale;
  return tiling;
}

/// The grains of all rows in order, each with a weight, in which places are found by the weight before them.
class GrainSequence {
 public:
  GrainSequence(const DecodeTiling &tiling, const std::vector<int64_t> &lengths)
      : kv_heads_(tiling.kvHeads), grain_rows_(tiling.grainRows) {
    for (uint32_t b = 0; b < tiling.batch; ++b) {
      const int64_t length = lengths.empty() ? tiling.length : lengths[b];
      lengths_.push_back(static_cast<uint64_t>(length));
      grain_count_ += kv_heads_ * GrainsOf(b);
      weight_ += kv_heads_ * WeightOf(b);
    }
  }

  uint64_t grain_count() const { return grain_count_; }
  uint64_t weight() const { return weight_; }

  /// Finds the grain in which the place lies that has `weight` before it: less than weight(), and not less
  /// than in the call before.
  void Find(uint64_t weight, uint32_t *row, uint32_t *grain) {
    while (before_ + kv_heads_ * WeightOf(batch_) <= weight) {
      before_ += kv_heads_ * WeightOf(batch_++);
    }
    const uint64_t within = weight - before_;
    *row = static_cast<uint32_t>(batch_ * kv_heads_ + within / WeightOf(batch_));
    *grain = static_cast<uint32_t>(within % WeightOf(batch_) / (grain_rows_ + GrainOverhead()));
  }

 private:
  // Of each grain, in positions: what starting its copies and its instructions takes, whatever it holds.
  uint64_t GrainOverhead() const { return grain_rows_ / 8; }
  uint64_t GrainsOf(size_t batch) const { return (lengths_[batch] + grain_rows_ - 1) / grain_rows_; }
  uint64_t WeightOf(size_t batch) const { return lengths_[batch] + GrainsOf(batch) * GrainOverhead(); }

  uint64_t kv_heads_;
  uint64_t grain_rows_;
  std::vector<uint64_t> lengths_;
  uint64_t grain_count_ = 0;
  uint64_t weight_ = 0;
  size_t batch_ = 0;     // where Find() is
  uint64_t before_ = 0;  // weight of the batches before it
};

/// Fills the table of starts.
void DealGrains(const std::vector<int64_t> &lengths, uint32_t available, DecodeTiling *tiling) {
  GrainSequence grains(*tiling, lengths);
  const uint64_t most = std::max<uint64_t>(1, grains.grain_count() / kMinGrainsPerCore);
  const uint64_t wanted = std::min<uint64_t>({available, kMaxCores, most});
  uint32_t cores = 1;  // the first one starts at (0, 0)
  for (uint64_t i = 1; i < wanted; ++i) {
    uint32_t row = 0;
    uint32_t grain = 0;
    grains.Find(grains.weight() * i / wanted, &row, &grain);
    // Of two cores that would start at one place, which one heavy grain among light ones makes, one has no
    // work.
    const bool is_new = row != tiling->startRow[cores - 1] || grain != tiling->startGrain[cores - 1];
    if (!is_new) continue;
    tiling->startRow[cores] = row;
    tiling->startGrain[cores] = grain;
    tiling->hasSplitRows |= grain > 0;
    ++cores;
  }
  tiling->cores = cores;
  std::fill(tiling->startRow + cores, tiling->startRow + kMaxCores + 1, tiling->batch * tiling->kvHeads);
  std::fill(tiling->startGrain + cores, tiling->startGrain + kMaxCores + 1, 0);
}

/// Lays out the workspace.
void PlaceRegions(bool int8_cache, DecodeTiling *tiling) {
  uint64_t end = 0;
  const auto place = [&end](uint64_t bytes) {
    const uint64_t offset = end;
    end += RoundUp(bytes, kRegionAlignment);
    return offset;
  };
  const uint64_t slots = tiling->hasSplitRows != 0 ? 2 * tiling->cores : 0;
  const uint64_t partial_rows = slots * tiling->group;
  tiling->partialOffset = place(partial_rows * RoundUp(tiling->headSize, 16) * sizeof(float));
  tiling->statisticsOffset = place(partial_rows * 2 * kStatisticsFloats * sizeof(float));
  tiling->privateBytes =
      tiling->path == kPathVector
          ? 0
          : RoundUp(CubePrivateBytes(tiling->group, tiling->headSize, int8_cache), kRegionAlignment);
  tiling->privateOffset = place(tiling->cores * tiling->privateBytes);
  tiling->workspaceBytes = end;
}

}  // namespace

DecodeTiling MakeTiling(const OperatorCall &call, const std::vector<int64_t> &lengths,
                        const CoreCounts &cores) {
  const DecodeAttentionArgs args = cpu::PlanCall(call);
  RefuseUnsupported(call, args);
  DecodeTiling tiling = Describe(call, args);
  const bool int8_cache = call.key.type == OperandType::kInt8;
  // The vector unit multiplies fp16 without conversion; everything else it would have to widen first.
  const bool vector_path = tiling.group == 1 && call.key.type == OperandType::kFloat16;
  tiling.path = vector_path ? kPathVector : kPathCube;
  tiling.tileRows =
      vector_path ? VectorTileRows(tiling.headSize) : CubeTileRows(tiling.group, tiling.headSize, int8_cache);
  tiling.grainRows = std::min(tiling.tileRows, kGrainRows);
  DealGrains(lengths, vector_path ? cores.vector : cores.cube, &tiling);
  PlaceRegions(int8_cache, &tiling);
  return tiling;
}

uint64_t TilingKey(const OperatorCall &call, const DecodeTiling &tiling) {
  if (tiling.path == kPathVector) return kKeyVectorHalf;
  const bool half = call.query.type == OperandType::kFloat16;
  if (call.key.type == OperandType::kInt8) return half ? kKeyCubeHalfInt8Cache : kKeyCubeBfloat16Int8Cache;
  return half ? kKeyCubeHalf : kKeyCubeBfloat16;
}

}  // namespace ifa::ascendc
