// int8 output: round(output * scale + offset), saturated, behind the value matmul.
#pragma once

#include <optional>

#include "passes/attention_site.h"
#include "passes/graph_builder.h"

namespace ifa::passes {

/// The quantisation that the site's product goes into, and nothing else does; nothing
/// where there is none that the operator computes alike. It is no reason to refuse the site: what quantises
/// can stay behind the operator.
/// @param site with its sizes known.
std::optional<OutputQuantisation> OutputQuantisationOf(const AttentionSite &site);

/// Of fp32 and of shape (1,), or where they vary (1, N, 1, D) with BNSD caches, (1, 1, N * D) with BSH
/// caches; None for both where the output is not quantised, and for an offset of 0.
struct OutputScale {
  mindspore::AnfNodePtr scale;
  mindspore::AnfNodePtr offset;
};
OutputScale BuildOutputScale(const GraphBuilder &builder, const AttentionSite &site);

}  // namespace ifa::passes
