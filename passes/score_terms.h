// The masks and biases of a site as the operator takes them: one bool mask of shape (B, 1, 1, S), one bias of
// shape (1|B, N, 1, S). Broadcasts that models spell out are undone, so that only what differs is
// materialised.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "passes/attention_site.h"
#include "passes/graph_builder.h"
#include "passes/separated.h"

namespace ifa::passes {

struct ScoreTerms {
  mindspore::AnfNodePtr mask;  ///< bool (B, 1, 1, S) of the masks without a prefix, or None
  mindspore::AnfNodePtr bias;  ///< of the site's type, (1|B, N, 1, S), or None
};

/// @param query as the operator takes it, (B, ...).
std::variant<ScoreTerms, Refusal> BuildScoreTerms(const GraphBuilder &builder, const AttentionSite &site,
                                                  const mindspore::AnfNodePtr &query, SharedTensors *shared);

/// Turns the added masks that the operator's mask can't express, those that differ by head, into biases.
void KeepAsBiases(AttentionSite *site);

/// What stands between a mask's condition and the scores.
std::vector<Move> MovesOf(const Mask &mask);

/// The shape (1|B, 1|N, 1, 1|S) that a tensor can be reshaped to, when it varies over whole batches, heads
/// and positions or not at all, in this order.
/// @param view of the tensor, as the scores see it.
/// @param shape the tensor's own.
std::optional<Shape> ShapeByRowAndPosition(const AttentionSite &site, const View &view, const Shape &shape);

/// For tensors that can't be reshaped.
Refusal UnknownSizes(const std::string &what, const mindspore::AnfNodePtr &tensor);

}  // namespace ifa::passes
