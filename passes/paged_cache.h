// Caches that are read in blocks by the numbers in a table: which gathers the operator can do itself, and the
// table and lengths as it takes them.
#pragma once

#include <optional>

#include "passes/attention_site.h"
#include "passes/graph_builder.h"

namespace ifa::passes {

/// How the axes of a key or value move through the tensor that it comes from.
struct KvAxes {
  Axis batch;
  Axis heads;
  Axis positions;
  Axis channels;
};

/// The axes in the order in which a cache of the layout lies in memory.
Axis InMemory(const KvAxes &axes, KvLayout layout);

struct PagedCache {
  mindspore::AnfNodePtr blocks;
  Paging paging;
};

/// @param source of the key or value, seen as `axes`.
/// @return nothing unless it is gathered from blocks that each hold the layout's positions, heads and
/// channels of one sequence, within the operator's limits.
std::optional<PagedCache> PagedCacheOf(const mindspore::AnfNodePtr &source, const KvAxes &axes,
                                       KvLayout layout);

/// The block table, int32 (B, blocks of a sequence) with numbers from 0, and the lengths of the sequences,
/// int64 (1,): all of their blocks. None for both when the site's caches are not paged.
struct BlockTable {
  mindspore::AnfNodePtr table;
  mindspore::AnfNodePtr lengths;
};
BlockTable BuildBlockTable(const GraphBuilder &builder, const AttentionSite &site, SharedTensors *shared);

}  // namespace ifa::passes
