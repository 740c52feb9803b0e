#include "passes/matcher.h"

#include <algorithm>
#include <initializer_list>
#include <utility>
#include <vector>

#include "passes/nan_guard.h"
#include "passes/operands.h"
#include "passes/output_quantisation.h"
#include "passes/softmax.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;

/// The end of a walk: the matmul, or why there is none.
struct WalkEnd {
  CNodePtr matmul;
  Refusal refusal;
  std::vector<AnfNodePtr> passed;  ///< of a walk downwards, the matmul included
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

std::vector<AnfNodePtr> OperandsOf(const AnfNodePtr &node) {
  std::vector<AnfNodePtr> nodes;
  for (size_t i = 0; i < OperandCount(node); ++i) nodes.push_back(Operand(node, i));
  return nodes;
}

/// Whether a matmul is among the nodes that a node comes from, or goes to, within a short way.
template <typename Neighbours>
bool MatMulNear(const AnfNodePtr &node, const Neighbours &neighbours) {
  constexpr size_t kNear = 32;  // nodes; attention that is written out has about ten
  std::vector<AnfNodePtr> open{node};
  for (size_t i = 0; i < open.size() && i < kNear; ++i) {
    if (MatMulOf(open[i])) return true;
    for (const AnfNodePtr &next : neighbours(open[i])) open.push_back(next);
  }
  return false;
}

/// What no step takes: the node, or behind a sum that leads to no matmul what stands on the side where one is
/// near.
AnfNodePtr ObstacleAt(AnfNodePtr node) {
  while (true) {
    if (IsSum(node)) {
      const size_t side = MatMulNear(Operand(node, 0), OperandsOf) ? 0 : 1;
      if (!MatMulNear(Operand(node, side), OperandsOf)) return node;
      node = Operand(node, side);
      continue;
    }
    Walk ignored;
    const Outcome outcome =
        TakeAny({TakeCast, TakeScale, TakeSelect, TakeLowerBound, TakeRowReshape}, node, &ignored);
    const auto *next = std::get_if<AnfNodePtr>(&outcome);
    if (next == nullptr) return node;
    node = *next;
  }
}

WalkEnd WalkToScoreMatMul(const Softmax &softmax, Walk *walk) {
  AnfNodePtr node = softmax.scores;
  std::vector<AnfNodePtr> below = softmax.nodes;
  while (true) {
    const auto users = UsersOf(node);
    const bool used = std::any_of(users.begin(), users.end(), [&](const CNodePtr &user) {
      return std::find(below.begin(), below.end(), user) == below.end();
    });
    if (used) {
      return {nullptr, {"scores_used", "the attention scores are used by more than the softmax", node}, {}};
    }
    if (MatMulOf(node)) return {node->cast<CNodePtr>(), {}, {}};
    Outcome outcome =
        TakeAny({TakeCast, TakeScale, TakeBias, TakeSelect, TakeLowerBound, TakeRowReshape}, node, walk);
    if (auto *refusal = std::get_if<Refusal>(&outcome)) return {nullptr, At(node, *refusal), {}};
    if (std::holds_alternative<NotMine>(outcome)) {
      node = ObstacleAt(node);
      const std::string op = OpName(node).empty() ? "something that is no operator" : OpName(node);
      return {nullptr, {"score_op", op + " stands between the score matmul and the softmax", node}, {}};
    }
    below = {node};
    node = std::get<AnfNodePtr>(outcome);
  }
}

/// @param guarded whether NaN becomes 0 on the way.
WalkEnd WalkToValueMatMul(const Softmax &softmax, bool *guarded) {
  AnfNodePtr node = softmax.probabilities;
  std::vector<AnfNodePtr> passed;
  while (true) {
    if (const CNodePtr guard = NanGuardOf(node)) {
      *guarded = true;
      node = guard;
      continue;
    }
    const auto users = softmax.UsersOnTheWay(node);
    if (users.size() != 1) {
      return {
          nullptr,
          {"probabilities_used", "the attention probabilities are used by more than the value matmul", node},
          {}};
    }
    const CNodePtr &user = users.front();
    passed.push_back(user);
    if (const auto matmul = MatMulOf(user)) {
      if (matmul->lhs == node && matmul->rhs != node && !matmul->transpose_lhs) return {user, {}, passed};
      return {nullptr,
              {"value_matmul", "the probabilities are not the left factor of the value matmul", user},
              {}};
    }
    Walk ignored;
    Outcome outcome = TakeAny({TakeCast, TakeRowReshape}, user, &ignored);
    if (auto *refusal = std::get_if<Refusal>(&outcome)) return {nullptr, At(user, *refusal), {}};
    const auto *taken = std::get_if<AnfNodePtr>(&outcome);
    if (taken == nullptr || *taken != node) {
      return {nullptr,
              {"probability_op", OpName(user) + " stands between the softmax and the value matmul", user},
              {}};
    }
    node = user;
  }
}

/// A softmax between two matmuls is worth a word even when neither of them can be reached step by step.
bool LooksLikeAttention(const CNodePtr &softmax) {
  const auto users = [](const AnfNodePtr &node) {
    const auto nodes = UsersOf(node);
    return std::vector<AnfNodePtr>(nodes.begin(), nodes.end());
  };
  return MatMulNear(softmax, OperandsOf) && MatMulNear(softmax, users);
}

/// What speaks against the site before its operands are looked at.
std::optional<Refusal> RefusalOf(const Softmax &softmax, const WalkEnd &up, const WalkEnd &down) {
  if (up.matmul == nullptr) return up.refusal;
  if (down.matmul == nullptr) return down.refusal;
  if (auto refusal = UsedElsewhere(softmax)) return refusal;
  return softmax.refusal;
}

}  // namespace

std::optional<Match> MatchAttention(const CNodePtr &root, bool strict, MemoryOrder *order) {
  auto softmax = SoftmaxOf(root);
  if (!softmax) return std::nullopt;
  bool guarded = false;
  const WalkEnd down = WalkToValueMatMul(*softmax, &guarded);
  if (softmax->missing && down.matmul != nullptr) FindDivision(down.passed, &*softmax);
  Match match;
  AttentionSite &site = match.site;
  if (!softmax->complete()) {
    match.refusal = WhyIncomplete(*softmax, down.matmul, down.refusal);
    if (!match.refusal) return std::nullopt;
  }
  Walk walk;
  walk.strict = strict;
  const WalkEnd up = WalkToScoreMatMul(*softmax, &walk);
  if (up.matmul == nullptr && down.matmul == nullptr && !LooksLikeAttention(root)) return std::nullopt;

  site.softmax = root;
  site.softmax_nodes = softmax->nodes;
  site.score_matmul = up.matmul;
  site.value_matmul = down.matmul;
  site.division = softmax->division;
  site.strict = strict;
  site.scale = walk.scale;
  site.masks = std::move(walk.masks);
  site.biases = std::move(walk.biases);
  if (!match.refusal) match.refusal = RefusalOf(*softmax, up, down);
  const bool can_be_masked = !(site.masks.empty() && site.biases.empty());
  if (!match.refusal && strict && can_be_masked && (guarded || !softmax->stable)) {
    match.refusal = {
        "strict_mask",
        guarded
            ? "a row in which every position is masked with -inf would not become 0 (strict=True)"
            : "a row in which every position is masked would not keep its value (strict=True): without its "
              "maximum subtracted, it is lost in rounding",
        root};
  }
  if (!match.refusal) {
    match.refusal = ResolveOperands(*MatMulOf(up.matmul), *MatMulOf(down.matmul), order, &site);
  }
  if (!match.refusal) site.output = OutputQuantisationOf(site);
  return match;
}

}  // namespace ifa::passes
