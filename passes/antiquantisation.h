// The scales and offsets of int8 caches as the operator takes them: each one tensor, with the key's in row 0
// and the value's in row 1.
#pragma once

#include "passes/attention_site.h"
#include "passes/graph_builder.h"
#include "passes/roles.h"

namespace ifa::passes {

/// Of the site's type and of shape (2, kvN, 1, D) with BNSD caches, (2, kvN * D) with BSH caches, or None.
struct Antiquantisation {
  mindspore::AnfNodePtr scale;
  mindspore::AnfNodePtr offset;
};

/// A matmul with an int8 cache as its right factor, and how many rows the cache has for it.
struct CacheUse {
  MatMulShape matmul;
  bool positions_last;
  int64_t batch;
  int64_t kv_heads;
  int64_t group;
};

/// Whether the operator can compute what stands between an int8 cache and its matmul: it adds first and
/// multiplies then, one number for each KV head and channel, or for several of them.
bool CanFold(const Dequantisation &dequantisation, const CacheUse &use);

/// @return None for both when the caches are not int8.
/// @param site whose dequantisations can be folded.
Antiquantisation BuildAntiquantisation(const GraphBuilder &builder, const AttentionSite &site);

}  // namespace ifa::passes
