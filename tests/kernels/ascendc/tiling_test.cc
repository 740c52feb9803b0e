// The plan of a call: which core works on which grains, and where the workspace's regions lie.
#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kernels/ascendc/op_host/decode_tiling.h"
#include "tests/kernels/cpp/check.h"

namespace ifa::ascendc::test {
namespace {

using cpu::Operand;
using cpu::OperandType;
using cpu::OperatorCall;
using cpu::test::Report;

struct Shape {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  int64_t length;
  int64_t head_size;
};

constexpr Shape kShapes[] = {
    {1, 1, 1, 1, 16},       {1, 5, 1, 4096, 128},   {3, 4, 2, 700, 80},
    {2, 8, 8, 513, 64},     {65, 3, 3, 130, 72},    {1, 64, 1, 8193, 512},
    {32, 64, 8, 4096, 128}, {1, 32, 8, 32768, 128}, {16, 32, 32, 2048, 128},
};

OperatorCall Call(const Shape &shape, OperandType cache = OperandType::kFloat16) {
  OperatorCall call;
  const auto operand = [](OperandType type, std::vector<int64_t> dimensions) {
    return Operand{type, "a type", std::move(dimensions)};
  };
  call.query = operand(OperandType::kFloat16, {shape.batch, shape.heads, 1, shape.head_size});
  call.key = operand(cache, {shape.batch, shape.kv_heads, shape.length, shape.head_size});
  call.value = call.key;
  if (cache == OperandType::kInt8) call.antiquant_scale = operand(OperandType::kFloat16, {2});
  call.num_heads = shape.heads;
  call.num_key_value_heads = shape.kv_heads;
  call.input_layout = static_cast<int64_t>(cpu::Layout::kBnsd);
  return call;
}

OperatorCall WithLengths(OperatorCall call, int64_t count) {
  call.actual_seq_lengths = Operand{OperandType::kInt64, "Int64", {count}};
  return call;
}

std::string NameOf(const Shape &shape, uint32_t cores) {
  std::string name;
  for (const int64_t size : {shape.batch, shape.heads, shape.kv_heads, shape.length, shape.head_size}) {
    name += std::to_string(size) + ",";
  }
  return name + " on " + std::to_string(cores) + " cores";
}

/// A plan, and the lengths of its sequences.
struct Plan {
  DecodeTiling tiling;
  std::vector<int64_t> lengths;

  int64_t LengthOf(uint32_t row) const { return lengths[row / tiling.kvHeads]; }
  uint32_t GrainsOf(uint32_t row) const {
    return static_cast<uint32_t>((LengthOf(row) + tiling.grainRows - 1) / tiling.grainRows);
  }
  uint32_t rows() const { return tiling.batch * tiling.kvHeads; }
  int64_t grains() const {
    int64_t grains = 0;
    for (uint32_t row = 0; row < rows(); ++row) grains += GrainsOf(row);
    return grains;
  }
};

Plan MakePlan(const Shape &shape, uint32_t cores, std::vector<int64_t> lengths = {}) {
  const bool known = !lengths.empty();
  if (!known) lengths.assign(static_cast<size_t>(shape.batch), shape.length);
  const OperatorCall call = known ? WithLengths(Call(shape), shape.batch) : Call(shape);
  return {MakeTiling(call, known ? lengths : std::vector<int64_t>(), {cores, cores}), lengths};
}

/// A row's grains [first, last) that one core works on; 0 and 0 of a row without any.
struct Share {
  uint32_t core;
  uint32_t row;
  uint32_t first;
  uint32_t last;
};

/// Walks the table as a device does.
std::vector<Share> SharesOf(const Plan &plan) {
  std::vector<Share> shares;
  const DecodeTiling &tiling = plan.tiling;
  for (uint32_t core = 0; core < tiling.cores; ++core) {
    const uint32_t end_row = tiling.startRow[core + 1];
    const uint32_t end_grain = tiling.startGrain[core + 1];
    for (uint32_t row = tiling.startRow[core]; row < end_row || (row == end_row && end_grain > 0); ++row) {
      const uint32_t first = row == tiling.startRow[core] ? tiling.startGrain[core] : 0;
      shares.push_back({core, row, first, row == end_row ? end_grain : plan.GrainsOf(row)});
    }
  }
  return shares;
}

/// "" when every grain of every row, and every row without one, belongs to exactly one core, and no core is
/// idle.
std::string Coverage(const Plan &plan) {
  const std::vector<Share> shares = SharesOf(plan);
  uint32_t row = 0;
  uint32_t grain = 0;  // the next that is to come
  for (const Share &share : shares) {
    if (share.row != row || share.first != grain || share.last > plan.GrainsOf(row)) {
      return "core " + std::to_string(share.core) + " has grains from " + std::to_string(share.first) +
             " of row " + std::to_string(share.row) + ", not from " + std::to_string(grain) + " of row " +
             std::to_string(row);
    }
    if (share.first == share.last && plan.GrainsOf(row) > 0) return "an empty share";
    const bool complete = share.last == plan.GrainsOf(row);
    row += complete ? 1 : 0;
    grain = complete ? 0 : share.last;
  }
  if (row != plan.rows() || grain != 0) return "ends at row " + std::to_string(row);
  std::vector<bool> works(plan.tiling.cores);
  for (const Share &share : shares) works[share.core] = true;
  return std::count(works.begin(), works.end(), false) == 0 ? "" : "a core without work";
}

/// "" when rows are called split exactly where two cores share one.
std::string SplitRows(const Plan &plan) {
  std::map<uint32_t, int> cores_of;
  for (const Share &share : SharesOf(plan)) ++cores_of[share.row];
  const bool split =
      std::any_of(cores_of.begin(), cores_of.end(), [](const auto &row) { return row.second > 1; });
  return split == (plan.tiling.hasSplitRows != 0) ? "" : "says otherwise";
}

/// Positions that a core reads, and of each grain `overhead` more.
std::vector<double> LoadOfCores(const Plan &plan, double overhead) {
  std::vector<double> load(plan.tiling.cores);
  for (const Share &share : SharesOf(plan)) {
    const int64_t rows = plan.tiling.grainRows;
    const int64_t positions = std::min(share.last * rows, plan.LengthOf(share.row)) - share.first * rows;
    load[share.core] += static_cast<double>(positions) + overhead * (share.last - share.first);
  }
  return load;
}

/// "" when no core has more than a tenth, or a grain, over its share of the load.
std::string Balance(const Plan &plan, double overhead) {
  const std::vector<double> load = LoadOfCores(plan, overhead);
  const double mean = std::accumulate(load.begin(), load.end(), 0.0) / static_cast<double>(load.size());
  const double most = *std::max_element(load.begin(), load.end());
  return most <= std::max(1.1 * mean, mean + plan.tiling.grainRows + overhead)
             ? ""
             : std::to_string(most) + " for one core, " + std::to_string(mean) + " for each on average";
}

/// "" when as many cores work as there are, or as have four grains each.
std::string CoreUse(const Plan &plan, uint32_t available) {
  const int64_t wanted = std::clamp<int64_t>(plan.grains() / 4, 1, std::min(available, kMaxCores));
  return plan.tiling.cores == wanted
             ? ""
             : std::to_string(plan.tiling.cores) + " cores work, not " + std::to_string(wanted);
}

std::string TailOfTable(const DecodeTiling &tiling) {
  for (uint32_t i = tiling.cores; i <= kMaxCores; ++i) {
    if (tiling.startRow[i] != tiling.batch * tiling.kvHeads || tiling.startGrain[i] != 0)
      return "entry " + std::to_string(i);
  }
  return tiling.startRow[0] == 0 && tiling.startGrain[0] == 0 ? "" : "entry 0";
}

void EveryGrainBelongsToOneCore() {
  for (const Shape &shape : kShapes) {
    for (uint32_t cores = 1; cores <= kMaxCores; ++cores) {
      const Plan plan = MakePlan(shape, cores);
      const std::string name = NameOf(shape, cores);
      Report("coverage of " + name, Coverage(plan));
      Report("split rows of " + name, SplitRows(plan));
      Report("balance of " + name, Balance(plan, 0));
      Report("cores for " + name, CoreUse(plan, cores));
      Report("table of " + name, TailOfTable(plan.tiling));
    }
  }
}

// The time of a core is that of its grains; one that is not full takes an eighth of a full one, and its
// positions.
void UnequalLengthsAreBalanced() {
  const Shape shape = {9, 4, 2, 20000, 128};
  const std::vector<int64_t> cases[] = {
      {20000, 0, 1, 5, 19999, 256, 257, 8193, 20000},
      {20000, 1, 1, 1, 1, 1, 1, 1, 1},
      {1, 1, 1, 1, 1, 1, 1, 1, 20000},
      {0, 0, 20000, 0, 0, 20000, 0, 0, 0},
      {256, 1, 1, 1, 1, 1, 1, 1, 1},
      {10000, 9000, 8000, 7000, 6000, 5000, 4000, 3000, 2000},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    for (uint32_t cores = 1; cores <= kMaxCores; ++cores) {
      const Plan plan = MakePlan(shape, cores, cases[i]);
      const std::string name = "lengths " + std::to_string(i) + " on " + std::to_string(cores) + " cores";
      Report("coverage of " + name, Coverage(plan));
      Report("split rows of " + name, SplitRows(plan));
      Report("balance of " + name, Balance(plan, plan.tiling.grainRows / 8.0));
      Report("table of " + name, TailOfTable(plan.tiling));
    }
  }
}

void RowsWithoutPositionsHaveAnOwner() {
  const Shape shape = {5, 3, 3, 64, 32};
  const Plan none = MakePlan(shape, 24, {0, 0, 0, 0, 0});
  Report("coverage without positions", Coverage(none));
  Report("cores without positions", none.tiling.cores == 1 ? "" : std::to_string(none.tiling.cores));
}

void UnknownLengthsArePlannedAsTheLongest() {
  const OperatorCall call = WithLengths(Call({3, 4, 2, 9000, 128}), 1);
  Report("lengths that the host does not know",
         Coverage({MakeTiling(call, {}, {24, 48}), {9000, 9000, 9000}}));
}

// More cores than the table has entries for are left idle.
void CoresBeyondTheTableAreNotUsed() {
  const Plan plan = MakePlan({16, 32, 32, 2048, 128}, 64);
  Report("coverage on 64 cores", Coverage(plan));
  Report("cores of 64", plan.tiling.cores == kMaxCores ? "" : std::to_string(plan.tiling.cores));
}

void EqualCallsHaveEqualPlans() {
  for (const Shape &shape : kShapes) {
    const DecodeTiling first = MakePlan(shape, 24).tiling;
    const DecodeTiling second = MakePlan(shape, 24).tiling;
    Report("plan of " + NameOf(shape, 24), std::memcmp(&first, &second, sizeof first) == 0 ? "" : "differs");
  }
}

/// "" when the regions follow each other, aligned, large enough, and end where the workspace does.
std::string Regions(const DecodeTiling &tiling) {
  const uint64_t slots = tiling.hasSplitRows != 0 ? 2 * tiling.cores : 0;
  const uint64_t width = (tiling.headSize + 15) / 16 * 16;
  const struct {
    const char *name;
    uint64_t offset;
    uint64_t bytes;
  } regions[] = {
      {"partials", tiling.partialOffset, slots * tiling.group * width * 4},
      {"statistics", tiling.statisticsOffset, slots * tiling.group * 2 * kStatisticsFloats * 4},
      {"private regions", tiling.privateOffset, tiling.cores * tiling.privateBytes},
  };
  uint64_t end = 0;
  for (const auto &[name, offset, bytes] : regions) {
    if (offset < end || offset % 512 != 0) return std::string(name) + " at " + std::to_string(offset);
    end = offset + bytes;
  }
  if (tiling.privateBytes % 512 != 0) return "private regions that are not aligned";
  return tiling.workspaceBytes >= end ? "" : "too small";
}

void WorkspaceRegionsAreApart() {
  for (const Shape &shape : kShapes) {
    for (const OperandType cache : {OperandType::kFloat16, OperandType::kInt8}) {
      for (const uint32_t cores : {1U, 7U, 24U, 48U}) {
        const DecodeTiling tiling = MakeTiling(Call(shape, cache), {}, {cores, cores});
        Report("workspace of " + NameOf(shape, cores), Regions(tiling));
      }
    }
  }
}

void PathsFollowGroupsAndTypes() {
  const OperatorCall alone = Call({2, 4, 4, 300, 64});
  OperatorCall bfloat16 = alone;
  bfloat16.query.type = bfloat16.key.type = bfloat16.value.type = OperandType::kBFloat16;
  const struct {
    const char *name;
    OperatorCall call;
    uint64_t key;
  } cases[] = {
      {"one head a group", alone, kKeyVectorHalf},
      {"two heads a group", Call({2, 4, 2, 300, 64}), kKeyCubeHalf},
      {"bfloat16", bfloat16, kKeyCubeBfloat16},
      {"an int8 cache", Call({2, 4, 4, 300, 64}, OperandType::kInt8), kKeyCubeHalfInt8Cache},
  };
  for (const auto &[name, call, key] : cases) {
    const DecodeTiling tiling = MakeTiling(call, {}, {24, 48});
    const uint64_t got = TilingKey(call, tiling);
    Report(std::string("tiling key of ") + name, got == key ? "" : std::to_string(got));
    Report(std::string("path of ") + name,
           tiling.path == (key == kKeyVectorHalf ? kPathVector : kPathCube) ? "" : "the other");
  }
}

void SizesAreTheCalls() {
  OperatorCall call = WithLengths(Call({2, 6, 3, 300, 80}), 2);
  call.attn_mask = Operand{OperandType::kBool, "Bool", {2, 1, 300}};
  call.pse_shift = Operand{OperandType::kFloat16, "Float16", {1, 6, 1, 300}};
  call.kv_padding_size = Operand{OperandType::kInt64, "Int64", {1}};
  call.quant_scale2 = Operand{OperandType::kFloat32, "Float32", {6, 80}};
  call.quant_offset2 = call.quant_scale2;
  call.scale_value = 0.25F;
  const DecodeTiling tiling = MakeTiling(call, {}, {});
  const std::pair<const char *, bool> facts[] = {
      {"batch", tiling.batch == 2},
      {"heads", tiling.heads == 6 && tiling.kvHeads == 3 && tiling.group == 2},
      {"head size", tiling.headSize == 80},
      {"length", tiling.length == 300},
      {"layout", tiling.kvLayout == kLayoutBnsd && tiling.blockSize == 0 && tiling.maxBlocks == 0},
      {"lengths", tiling.lengthCount == 2 && tiling.hasPadding == 1},
      {"mask", tiling.maskStride == 300},
      {"pse_shift", tiling.pseStride == 300 && tiling.pseBatches == 1},
      {"cache", tiling.antiquant == kParameterNone && tiling.hasAntiquantOffset == 0},
      {"output", tiling.quant == kParameterPerChannel && tiling.hasQuantOffset == 1},
      {"scale", tiling.scale == 0.25F},
  };
  for (const auto &[name, holds] : facts) Report(std::string("description of ") + name, holds ? "" : "wrong");
}

void BlocksAreTheCalls() {
  OperatorCall call = WithLengths(Call({2, 6, 3, 300, 80}), 2);
  call.block_table = Operand{OperandType::kInt32, "Int32", {2, 7}};
  call.block_size = 32;
  for (const bool four : {true, false}) {
    call.key.shape = four ? std::vector<int64_t>{9, 3, 32, 80} : std::vector<int64_t>{9, 32, 240};
    call.value.shape = call.key.shape;
    const DecodeTiling tiling = MakeTiling(call, {}, {});
    const bool holds = tiling.kvLayout == (four ? kLayoutBlocksBnsd : kLayoutBlocksBsh) &&
                       tiling.blockSize == 32 && tiling.maxBlocks == 7 && tiling.length == 224;
    Report(four ? "blocks of four dimensions" : "blocks of three dimensions", holds ? "" : "wrong");
  }
}

void WhatTheKernelDoesNotTakeIsRefused() {
  OperatorCall wide = Call({1, 2, 1, 64, 32});
  wide.query.type = wide.key.type = wide.value.type = OperandType::kFloat32;
  OperatorCall lengths = WithLengths(Call({1, 2, 1, 64, 32}), 1);
  lengths.actual_seq_lengths.type = OperandType::kInt32;
  const struct {
    const char *argument;
    OperatorCall call;
  } cases[] = {
      {"query must", wide},
      {"actual_seq_lengths must", lengths},
      {"key's length must", Call({1, 2, 1, int64_t{INT32_MAX} + 1, 32})},
      {"query's head size must", Call({1, 2, 1, 64, 513})},
  };
  for (const auto &[argument, call] : cases) {
    std::string message = "accepted";
    try {
      MakeTiling(call, {}, {});
    } catch (const cpu::Refusal &refusal) {
      message = refusal.what();
    }
    Report(argument, message.find(argument) != std::string::npos ? "" : message);
  }
}

}  // namespace
}  // namespace ifa::ascendc::test

int main() {
  using namespace ifa::ascendc::test;
  EveryGrainBelongsToOneCore();
  UnequalLengthsAreBalanced();
  RowsWithoutPositionsHaveAnOwner();
  UnknownLengthsArePlannedAsTheLongest();
  CoresBeyondTheTableAreNotUsed();
  EqualCallsHaveEqualPlans();
  WorkspaceRegionsAreApart();
  PathsFollowGroupsAndTypes();
  SizesAreTheCalls();
  BlocksAreTheCalls();
  WhatTheKernelDoesNotTakeIsRefused();
  return ifa::cpu::test::AllPassed() ? 0 : 1;
}
