#include "passes/softmax.h"

#include <algorithm>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;

bool Contains(const std::vector<AnfNodePtr> &nodes, const AnfNodePtr &node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

/// Adds a node and what it is made of, up to the scores. Numbers, shapes and axes are no part.
void AddNodes(const AnfNodePtr &from, Softmax *softmax) {
  std::vector<AnfNodePtr> open{from};
  while (!open.empty()) {
    const AnfNodePtr node = open.back();
    open.pop_back();
    const bool known = node == softmax->scores || Contains(softmax->nodes, node);
    if (known || !node->isa<mindspore::CNode>() || NumberOf(node)) continue;
    softmax->nodes.push_back(node);
    for (size_t i = 0; i < OperandCount(node); ++i) {
      if (i == 0 || ShapeOf(Operand(node, i))) open.push_back(Operand(node, i));
    }
  }
}

struct Division {
  CNodePtr node;
  bool stable;
};

/// The division of a tensor, or of its casts, by this.
std::optional<Division> DivisionBy(const RowValue &log_divisor, const AnfNodePtr &tensor) {
  for (const CNodePtr &user : UsersOf(tensor)) {
    const auto found = LogDivisorOf(user, tensor);
    if (found && *found == log_divisor) return Division{user, found->stable};
    const auto division = IsFloatCast(user) ? DivisionBy(log_divisor, user) : std::nullopt;
    if (division) return division;
  }
  return std::nullopt;
}

/// A sum, or the same rows of which there are only sums.
bool IsSummedUp(const CNodePtr &user) {
  const auto reduction = ReductionOf(user);
  if (reduction) return reduction->kind == Reduction::Kind::kSum;
  const auto users = UsersOf(user);
  return SameRowsAbove(user) != nullptr && std::all_of(users.begin(), users.end(), IsSummedUp);
}

/// A sum of a tensor, or of the same rows; null where there is none.
CNodePtr SumOf(const AnfNodePtr &tensor) {
  for (const CNodePtr &user : UsersOf(tensor)) {
    const auto reduction = ReductionOf(user);
    if (reduction && reduction->kind == Reduction::Kind::kSum) return user;
    const CNodePtr sum = SameRowsAbove(user) != nullptr ? SumOf(user) : nullptr;
    if (sum != nullptr) return sum;
  }
  return nullptr;
}

/// Whether a tensor is divided by something that broadcasts.
bool IsDividedByRows(const AnfNodePtr &tensor) {
  const auto users = UsersOf(tensor);
  return std::any_of(users.begin(), users.end(), [&](const CNodePtr &user) {
    const AnfNodePtr divisor = Operand(user, 1);
    const bool divides = (IsOp(user, "Div") || IsOp(user, "RealDiv")) && Operand(user, 0) == tensor;
    return divides && !NumberOf(divisor) && ShapeOf(divisor) != ShapeOf(tensor);
  });
}

Softmax Operator(const CNodePtr &node) {
  Softmax softmax{node, Operand(node, 0), node, {node}};
  if (!IsLastAxis(Operand(node, 1), node)) {
    softmax.refusal = {"softmax_axis", "the softmax is not over the last axis, the positions", node};
  }
  return softmax;
}

Softmax SpelledOut(const CNodePtr &exponentials) {
  const ShiftedScores exponent = ShiftedScoresOf(Operand(exponentials, 0));
  Softmax softmax{exponentials, exponent.scores, exponentials};
  AddNodes(exponentials, &softmax);
  const RowValue sums = exponent.LogSum();
  if (sums == RowValue{exponent.scores}) {
    softmax.stable = sums.stable;
  } else if (const auto division = DivisionBy(sums, exponentials)) {
    softmax.probabilities = division->node;
    softmax.stable = division->stable;
    AddNodes(division->node, &softmax);
  } else {
    softmax.missing = sums;
  }
  return softmax;
}

}  // namespace

std::vector<CNodePtr> Softmax::UsersOnTheWay(const AnfNodePtr &node) const {
  auto users = UsersOf(node);
  if (missing) users.erase(std::remove_if(users.begin(), users.end(), IsSummedUp), users.end());
  return users;
}

bool IsSoftmaxRoot(const AnfNodePtr &node) { return IsOp(node, "Softmax") || IsOp(node, "Exp"); }

std::optional<Softmax> SoftmaxOf(const CNodePtr &root) {
  if (IsOp(root, "Softmax")) return Operator(root);
  Softmax softmax = SpelledOut(root);
  return softmax.UsersOnTheWay(softmax.probabilities).empty() ? std::nullopt
                                                              : std::optional<Softmax>(softmax);
}

void FindDivision(const std::vector<AnfNodePtr> &passed, Softmax *softmax) {
  std::vector<AnfNodePtr> way = passed;
  while (true) {
    const AnfNodePtr node = way.back();
    const auto users = UsersOf(node);
    if (users.size() != 1 || users.front()->func_graph() != node->func_graph()) return;
    const CNodePtr &user = users.front();
    const auto divisor = LogDivisorOf(user, node);
    if (divisor && *divisor == *softmax->missing) {
      softmax->division = user;
      softmax->stable = divisor->stable;
      softmax->nodes.insert(softmax->nodes.end(), way.begin(), way.end());
      AddNodes(user, softmax);
      return;
    }
    if (SameRowsAbove(user) != node) return;
    way.push_back(user);
  }
}

std::optional<Refusal> WhyIncomplete(const Softmax &softmax, const AnfNodePtr &value_matmul,
                                     const Refusal &no_matmul) {
  const CNodePtr sum = SumOf(softmax.root);
  if (sum != nullptr && !ReductionOf(sum)->of_rows) {
    return Refusal{"softmax_axis", "the exponentials are not summed over the last axis, the positions", sum};
  }
  const bool is_divided =
      IsDividedByRows(softmax.root) || (value_matmul != nullptr && IsDividedByRows(value_matmul));
  if (sum == nullptr && !is_divided) return std::nullopt;
  if (value_matmul == nullptr && !is_divided) return no_matmul;
  return Refusal{"softmax_form", "the exponentials are not divided by their own sums, as in a softmax",
                 softmax.root};
}

std::optional<Refusal> UsedElsewhere(const Softmax &softmax) {
  const auto is_exponential = [&](AnfNodePtr node) {
    while (node != softmax.scores && !IsOp(node, "Exp"))
      node = Operand(node, NumberOf(Operand(node, 0)) ? 1 : 0);
    return node != softmax.scores;
  };
  const AnfNodePtr &result = softmax.division != nullptr ? softmax.division : softmax.probabilities;
  for (const AnfNodePtr &node : softmax.nodes) {
    const auto users = UsersOf(node);
    const bool alone = std::all_of(users.begin(), users.end(),
                                   [&](const CNodePtr &user) { return Contains(softmax.nodes, user); });
    if (alone || node == result) continue;
    if (is_exponential(node)) {
      return Refusal{"probabilities_used",
                     "the attention probabilities are used by more than the value matmul", node};
    }
    return Refusal{"scores_used", "the attention scores are used by more than the softmax", node};
  }
  return std::nullopt;
}

}  // namespace ifa::passes
