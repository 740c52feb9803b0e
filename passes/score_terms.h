// The masks and biases of a site as the operator takes them: one bool mask of shape (B, 1, 1, S), one bias of
// shape (1|B, N, 1, S). Broadcasts that models spell out are undone, so that only what differs is
// materialised.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <variant>

#include "passes/attention_site.h"
#include "passes/graph_builder.h"

namespace ifa::passes {

/// Masks and biases that were already built in a graph, by the node that they come from and what was made of
/// it: the layers of a model share them.
using SharedTensors =
    std::map<std::tuple<mindspore::FuncGraphPtr, mindspore::AnfNodePtr, std::string>, mindspore::AnfNodePtr>;

struct ScoreTerms {
  mindspore::AnfNodePtr mask;  ///< bool (B, 1, 1, S), or None
  mindspore::AnfNodePtr bias;  ///< of the site's type, (1|B, N, 1, S), or None
};

std::variant<ScoreTerms, Refusal> BuildScoreTerms(const GraphBuilder &builder, const AttentionSite &site,
                                                  SharedTensors *shared);

/// For tensors that can't be reshaped.
Refusal UnknownSizes(const std::string &what, const mindspore::AnfNodePtr &tensor);

}  // namespace ifa::passes
