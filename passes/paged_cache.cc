#include "passes/paged_cache.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>

#include "passes/separated.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

// Of the operator on every target, from its document and from CANN's tiling.
constexpr int64_t kBlockAlignment = 16;
constexpr int64_t kInt8BlockAlignment = 32;
constexpr int64_t kLargestBlock = 512;
constexpr int64_t kMostBlocks = 16 * 1024;    // of a sequence
constexpr int64_t kLargestRow = 65535;        // kvN * D
constexpr int64_t kMostElements = INT32_MAX;  // of a cache

/// Whether the operator takes such a cache. How many blocks a sequence has may be known only to the run,
/// which raises the operator's error then.
bool IsWithinLimits(const AnfNodePtr &cache, int64_t row, int64_t block_size, int64_t sequence_blocks) {
  const int64_t alignment = IsInt8(cache) ? kInt8BlockAlignment : kBlockAlignment;
  const int64_t elements = Size(*ShapeOf(cache));
  return row != kDynamic && row <= kLargestRow && block_size > 0 && block_size % alignment == 0 &&
         block_size <= kLargestBlock && sequence_blocks <= kMostBlocks && elements != kDynamic &&
         elements <= kMostElements;
}

/// Built once per graph, since the layers of a model share their table.
template <typename Build>
AnfNodePtr Once(SharedTensors *shared, const AttentionSite &site, const std::string &what,
                const Build &build) {
  const auto key = std::make_tuple(site.value_matmul->func_graph(), site.paging->table, what);
  const auto [found, is_new] = shared->try_emplace(key);
  if (is_new) found->second = build();
  return found->second;
}

/// Gather cuts numbers to int32 and counts those below 0 from the end, which the operator refuses; both
/// refuse what is beyond the blocks.
AnfNodePtr BuildTable(const GraphBuilder &builder, const Paging &paging, const Shape &shape) {
  constexpr auto kInt = mindspore::kNumberTypeInt32;
  const AnfNodePtr table = builder.Cast(builder.Reshape(paging.table, shape), kInt);
  const AnfNodePtr zero = builder.Filled({0}, kInt, {});
  const AnfNodePtr count = builder.Filled({static_cast<double>(paging.block_count)}, kInt, {});
  const AnfNodePtr negative = builder.Call("Less", {table, zero}, mindspore::kNumberTypeBool, shape);
  const AnfNodePtr counted = builder.Call("Add", {table, count}, kInt, shape);
  return builder.Call("Select", {negative, counted, table}, kInt, shape);
}

AnfNodePtr BuildLengths(const GraphBuilder &builder, const AttentionSite &site, const AnfNodePtr &table) {
  constexpr auto kLong = mindspore::kNumberTypeInt64;
  if (site.kv_length != kDynamic) {
    return builder.Filled({static_cast<double>(site.kv_length)}, kLong, {1});
  }
  const AnfNodePtr sizes = builder.Call("TensorShape", {table}, kLong, {2});
  const AnfNodePtr one = builder.Filled({1}, kLong, {1});
  const AnfNodePtr blocks =
      builder.Call("Gather", {sizes, one, builder.Integer(0), builder.Integer(0)}, kLong, {1});
  const AnfNodePtr block_size = builder.Filled({static_cast<double>(site.paging->block_size)}, kLong, {1});
  return builder.Call("Mul", {blocks, block_size}, kLong, {1});
}

}  // namespace

Axis InMemory(const KvAxes &axes, KvLayout layout) {
  return layout == KvLayout::kBsh ? Concatenated({axes.batch, axes.positions, axes.heads, axes.channels})
                                  : Concatenated({axes.batch, axes.heads, axes.positions, axes.channels});
}

std::optional<PagedCache> PagedCacheOf(const AnfNodePtr &source, const KvAxes &axes, KvLayout layout) {
  const auto gather = BlockGatherOf(source);
  const auto table_shape = gather ? ShapeOf(gather->table) : std::nullopt;
  if (!table_shape || !ShapeOf(gather->blocks)) return std::nullopt;
  // Of the gathered tensor, the table's axes come first, and then those inside a block.
  const auto inside = [&](const Factor &factor) {
    return factor.source_axis >= static_cast<int>(table_shape->size());
  };
  const auto &positions = axes.positions;
  const auto first_inside = std::find_if(positions.begin(), positions.end(), inside);
  const Axis by_table(positions.begin(), first_inside);
  const Axis in_block(first_inside, positions.end());
  if (std::any_of(axes.batch.begin(), axes.batch.end(), inside) ||
      !std::all_of(axes.heads.begin(), axes.heads.end(), inside)) {
    return std::nullopt;
  }
  const Axis block = InMemory({{}, axes.heads, in_block, axes.channels}, layout);
  const Paging paging{gather->table, ShapeOf(gather->blocks)->front(), Size(in_block)};
  const int64_t sequence_blocks = Size(by_table);
  const bool fits = IsSourceInOrder(Concatenated({axes.batch, by_table, block}), *ShapeOf(source)) &&
                    IsWithinLimits(gather->blocks, Size(Concatenated({axes.heads, axes.channels})),
                                   paging.block_size, sequence_blocks) &&
                    CanReshape(gather->table, {Size(axes.batch), sequence_blocks});
  return fits ? std::optional<PagedCache>({gather->blocks, paging}) : std::nullopt;
}

BlockTable BuildBlockTable(const GraphBuilder &builder, const AttentionSite &site, SharedTensors *shared) {
  if (!site.paging) return {builder.None(), builder.None()};
  const int64_t block_size = site.paging->block_size;
  const Shape shape{site.batch, site.kv_length == kDynamic ? kDynamic : site.kv_length / block_size};
  const std::string what = std::to_string(shape[0]) + "," + std::to_string(shape[1]) + " blocks of " +
                           std::to_string(block_size) + " from " + std::to_string(site.paging->block_count);
  const AnfNodePtr table = Once(shared, site, what, [&] { return BuildTable(builder, *site.paging, shape); });
  const AnfNodePtr lengths =
      Once(shared, site, "length of " + what, [&] { return BuildLengths(builder, site, table); });
  return {table, lengths};
}

}  // namespace ifa::passes
