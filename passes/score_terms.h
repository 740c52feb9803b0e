// The masks and biases of a site as the operator takes them: one bool mask of shape (B, 1, 1, S), one bias of
// shape (1|B, N, 1, S). Broadcasts that models spell out are undone, so that only what differs is
// materialised.
#pragma once

#include <string>
#include <variant>

#include "passes/attention_site.h"
#include "passes/graph_builder.h"

namespace ifa::passes {

struct ScoreTerms {
  mindspore::AnfNodePtr mask;  ///< bool (B, 1, 1, S), or None
  mindspore::AnfNodePtr bias;  ///< of the site's type, (1|B, N, 1, S), or None
};

std::variant<ScoreTerms, Refusal> BuildScoreTerms(const GraphBuilder &builder, const AttentionSite &site,
                                                  SharedTensors *shared);

/// For tensors that can't be reshaped.
Refusal UnknownSizes(const std::string &what, const mindspore::AnfNodePtr &tensor);

}  // namespace ifa::passes
