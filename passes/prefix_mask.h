// Masks that show each sequence its first positions, `arange(S) < lengths` and their like, as the lengths
// that the operator takes: what lies beyond them it does not read.
#pragma once

#include "passes/attention_site.h"
#include "passes/graph_builder.h"
#include "passes/memory_order.h"

namespace ifa::passes {

/// Gives a prefix to those of the site's masks whose condition provably compares the positions 0 to S-1 with
/// integers of the sequences that still hold their values where the operator reads them. None in strict mode:
/// of a length of 0 the operator makes zeros, of a row in which every position is masked the mean of the
/// values.
void FindPrefixes(AttentionSite *site, MemoryOrder *order);

/// The operator's lengths, int64 (1|B,), from 0 to S: of several prefixes the shortest. Null when there is
/// none.
mindspore::AnfNodePtr BuildLengths(const GraphBuilder &builder, const AttentionSite &site,
                                   SharedTensors *shared);

}  // namespace ifa::passes
