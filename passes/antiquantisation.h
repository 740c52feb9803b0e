// The scales and offsets of int8 caches as the operator takes them: each one tensor, with the key's in row 0
// and the value's in row 1.
#pragma once

#include <variant>

#include "passes/attention_site.h"
#include "passes/graph_builder.h"

namespace ifa::passes {

/// Of the site's type and of shape (2, kvN, 1, D) with BNSD caches, (2, kvN * D) with BSH caches, or None.
struct Antiquantisation {
  mindspore::AnfNodePtr scale;
  mindspore::AnfNodePtr offset;
};

/// @return None for both when the caches are not int8; why a scale or offset is not one for each KV head and
/// channel, or for several of them.
std::variant<Antiquantisation, Refusal> BuildAntiquantisation(const GraphBuilder &builder,
                                                              const AttentionSite &site);

}  // namespace ifa::passes
