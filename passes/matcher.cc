#include "passes/matcher.h"

#include <initializer_list>
#include <utility>
#include <vector>

#include "passes/nan_guard.h"
#include "passes/operands.h"
#include "passes/output_quantisation.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;

/// The end of a walk: the matmul, or why there is none.
struct WalkEnd {
  CNodePtr matmul;
  Refusal refusal;
};

Outcome TakeAny(std::initializer_list<Step> steps, const AnfNodePtr &node, Walk *walk) {
  for (const Step step : steps) {
    Outcome outcome = step(node, walk);
    if (!std::holds_alternative<NotMine>(outcome)) return outcome;
  }
  return NotMine{};
}

Refusal At(const AnfNodePtr &node, Refusal refusal) {
  refusal.node = node;
  return refusal;
}

WalkEnd WalkToScoreMatMul(const CNodePtr &softmax, Walk *walk) {
  AnfNodePtr node = Operand(softmax, 0);
  while (true) {
    if (UsersOf(node).size() != 1) {
      return {nullptr, {"scores_used", "the attention scores are used by more than the softmax", node}};
    }
    if (MatMulOf(node)) return {node->cast<CNodePtr>(), {}};
    Outcome outcome = TakeAny({TakeCast, TakeScale, TakeBias, TakeSelect, TakeRowReshape}, node, walk);
    if (auto *refusal = std::get_if<Refusal>(&outcome)) return {nullptr, At(node, *refusal)};
    if (std::holds_alternative<NotMine>(outcome)) {
      const std::string op = OpName(node).empty() ? "something that is no operator" : OpName(node);
      return {nullptr, {"score_op", op + " stands between the score matmul and the softmax", node}};
    }
    node = std::get<AnfNodePtr>(outcome);
  }
}

/// @param guarded whether NaN becomes 0 on the way.
WalkEnd WalkToValueMatMul(const CNodePtr &softmax, bool *guarded) {
  AnfNodePtr node = softmax;
  while (true) {
    if (const CNodePtr guard = NanGuardOf(node)) {
      *guarded = true;
      node = guard;
      continue;
    }
    const auto users = UsersOf(node);
    if (users.size() != 1) {
      return {
          nullptr,
          {"probabilities_used", "the attention probabilities are used by more than the value matmul", node}};
    }
    const CNodePtr &user = users.front();
    if (const auto matmul = MatMulOf(user)) {
      if (matmul->lhs == node && matmul->rhs != node && !matmul->transpose_lhs) return {user, {}};
      return {nullptr,
              {"value_matmul", "the probabilities are not the left factor of the value matmul", user}};
    }
    Walk ignored;
    Outcome outcome = TakeAny({TakeCast, TakeRowReshape}, user, &ignored);
    if (auto *refusal = std::get_if<Refusal>(&outcome)) return {nullptr, At(user, *refusal)};
    const auto *taken = std::get_if<AnfNodePtr>(&outcome);
    if (taken == nullptr || *taken != node) {
      return {nullptr,
              {"probability_op", OpName(user) + " stands between the softmax and the value matmul", user}};
    }
    node = user;
  }
}

/// Whether a matmul is among the nodes that the softmax comes from, or goes to, within a short way.
template <typename Neighbours>
bool MatMulNear(const AnfNodePtr &softmax, const Neighbours &neighbours) {
  constexpr size_t kNear = 32;  // nodes; attention that is written out has about ten
  std::vector<AnfNodePtr> open{softmax};
  for (size_t i = 0; i < open.size() && i < kNear; ++i) {
    if (MatMulOf(open[i])) return true;
    for (const AnfNodePtr &next : neighbours(open[i])) open.push_back(next);
  }
  return false;
}

/// A softmax between two matmuls is worth a word even when neither of them can be reached step by step.
bool LooksLikeAttention(const CNodePtr &softmax) {
  const auto inputs = [](const AnfNodePtr &node) {
    std::vector<AnfNodePtr> nodes;
    for (size_t i = 0; i < OperandCount(node); ++i) nodes.push_back(Operand(node, i));
    return nodes;
  };
  const auto users = [](const AnfNodePtr &node) {
    const auto nodes = UsersOf(node);
    return std::vector<AnfNodePtr>(nodes.begin(), nodes.end());
  };
  return MatMulNear(softmax, inputs) && MatMulNear(softmax, users);
}

bool IsOverLastAxis(const CNodePtr &softmax) {
  const auto shape = ShapeOf(softmax);
  const auto axis = IntegersOf(Operand(softmax, 1));
  if (!shape || !axis || axis->size() != 1) return false;
  return (*axis)[0] == -1 || (*axis)[0] == static_cast<int64_t>(shape->size()) - 1;
}

}  // namespace

std::optional<Match> MatchAttention(const CNodePtr &softmax, bool strict) {
  Walk walk;
  walk.strict = strict;
  const WalkEnd up = WalkToScoreMatMul(softmax, &walk);
  bool guarded = false;
  const WalkEnd down = WalkToValueMatMul(softmax, &guarded);
  if (up.matmul == nullptr && down.matmul == nullptr && !LooksLikeAttention(softmax)) return std::nullopt;

  Match match;
  AttentionSite &site = match.site;
  site.softmax = softmax;
  site.score_matmul = up.matmul;
  site.value_matmul = down.matmul;
  site.strict = strict;
  site.scale = walk.scale;
  site.masks = std::move(walk.masks);
  site.biases = std::move(walk.biases);
  if (up.matmul == nullptr) {
    match.refusal = up.refusal;
  } else if (down.matmul == nullptr) {
    match.refusal = down.refusal;
  } else if (!IsOverLastAxis(softmax)) {
    match.refusal = {"softmax_axis", "the softmax is not over the last axis, the positions", softmax};
  } else if (guarded && strict && !(site.masks.empty() && site.biases.empty())) {
    match.refusal = {"strict_mask",
                     "a row in which every position is masked with -inf would not become 0 (strict=True)",
                     softmax};
  } else {
    match.refusal = ResolveOperands(*MatMulOf(up.matmul), *MatMulOf(down.matmul), &site);
  }
  if (!match.refusal) site.output = OutputQuantisationOf(site);
  return match;
}

}  // namespace ifa::passes
