#include <cmath>
#include <utility>
#include <vector>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

// exp(-1e4) is 0 in every type that scores have; the operator's document hides positions with values from
// -1e4 down.
constexpr double kHidden = -1e4;

bool Hides(double value) { return value <= kHidden; }

/// Whether a walk upwards from the node can end at a matmul.
bool LeadsToMatMul(const AnfNodePtr &node) {
  std::vector<AnfNodePtr> open{node};
  constexpr size_t kFarEnough = 64;  // nodes; attention that is written out has about ten here
  for (size_t i = 0; i < open.size() && i < kFarEnough; ++i) {
    if (MatMulOf(open[i])) return true;
    Walk ignored;
    const std::string op = OpName(open[i]);
    if (IsSum(open[i])) {
      open.push_back(Operand(open[i], 0));
      open.push_back(Operand(open[i], 1));
    } else if (op == "Select") {
      open.push_back(Operand(open[i], 1));
      open.push_back(Operand(open[i], 2));
    } else if (op == "MaskedFill" || op == "MaskedFillScalar" || IsView(open[i])) {
      open.push_back(Operand(open[i], 0));
    } else {
      for (const Step step : {TakeCast, TakeScale, TakeLowerBound}) {
        const Outcome outcome = step(open[i], &ignored);
        if (const auto *next = std::get_if<AnfNodePtr>(&outcome)) open.push_back(*next);
      }
    }
  }
  return false;
}

bool IsFinite(const TwoValued &values) {
  return std::isfinite(values.if_true) && std::isfinite(values.if_false);
}

/// The same mask by what its condition negates, which a broadcast to all heads may stand above.
Mask WithoutNegations(Mask mask) {
  AnfNodePtr &condition = mask.selector.condition;
  while (IsOp(condition, "LogicalNot") && TypeOf(Operand(condition, 0)) == mindspore::kNumberTypeBool) {
    condition = Operand(condition, 0);
    std::swap(mask.selector.if_true, mask.selector.if_false);
    mask.hidden_when = !mask.hidden_when;
  }
  return mask;
}

/// A two-valued tensor that hides one of its values from the softmax. The other value shifts all visible
/// scores alike and so does not matter.
std::optional<Mask> AdditiveMask(const AnfNodePtr &tensor, double factor, const Shape &score_shape) {
  const auto values = TwoValuedOf(tensor);
  if (!values) return std::nullopt;
  const double if_true = values->if_true * factor;
  const double if_false = values->if_false * factor;
  const bool true_hides = std::isfinite(if_false) && Hides(if_true - if_false);
  const bool false_hides = std::isfinite(if_true) && Hides(if_false - if_true);
  if (!true_hides && !false_hides) return std::nullopt;
  return WithoutNegations(
      {*values, true_hides, score_shape, Bias{tensor, factor, score_shape}, std::nullopt});
}

/// Records what is added to the scores: a mask, a bias, or a sum of masks and a bias, which may be merged
/// before they meet the scores.
void Record(const AnfNodePtr &tensor, const Shape &score_shape, Walk *walk) {
  if (const auto mask = AdditiveMask(tensor, walk->scale, score_shape)) {
    walk->masks.push_back(*mask);
    return;
  }
  if (const AnfNodePtr sum = BehindCasts(tensor); IsSum(sum)) {
    for (const size_t index : {0, 1}) {
      const auto mask = AdditiveMask(Operand(sum, index), walk->scale, score_shape);
      const AnfNodePtr rest = Operand(sum, 1 - index);
      if (mask && ShapeOf(rest) && IsFloat(TypeOf(rest))) {
        walk->masks.push_back(*mask);
        Record(rest, score_shape, walk);
        return;
      }
    }
  }
  walk->biases.push_back({tensor, walk->scale, score_shape});
}

Outcome Hide(const AnfNodePtr &node, const AnfNodePtr &condition, bool hidden_when, double value,
             const AnfNodePtr &scores, Walk *walk) {
  const auto shape = ShapeOf(node);
  const auto condition_shape = ShapeOf(condition);
  if (!shape || !condition_shape || shape != ShapeOf(scores)) {
    return Refusal{"mask_shape", "a mask broadcasts the scores, or its shape is not known"};
  }
  if (walk->scale <= 0 || !Hides(value * walk->scale)) {
    return Refusal{"mask_value", "masked scores are set to " + std::to_string(value) +
                                     ", which does not hide them: a mask sets them to -1e4 or less"};
  }
  if (walk->strict && (std::isinf(value) || !walk->masks.empty() || !walk->biases.empty())) {
    return Refusal{"strict_mask",
                   "a row in which every position is masked would not keep its value (strict=True): the mask "
                   "is followed by "
                   "another mask or a bias, or sets scores to -inf"};
  }
  TwoValued selector{condition, 0, 0, *condition_shape, {}};
  walk->masks.push_back(WithoutNegations({selector, hidden_when, *shape, std::nullopt, std::nullopt}));
  return scores;
}

}  // namespace

bool IsSum(const AnfNodePtr &node) {
  const std::string op = OpName(node);
  return op == "Add" || (op == "AddExt" && NumberOf(Operand(node, 2)) == 1.0);
}

Outcome TakeBias(const AnfNodePtr &node, Walk *walk) {
  if (!IsSum(node)) return NotMine{};
  auto scores = Operand(node, 0);
  auto bias = Operand(node, 1);
  if (!LeadsToMatMul(scores)) std::swap(scores, bias);
  if (!LeadsToMatMul(scores)) return NotMine{};
  const auto shape = ShapeOf(node);
  if (!shape || shape != ShapeOf(scores) || !ShapeOf(bias) || !IsFloat(TypeOf(bias))) {
    return Refusal{"bias_shape", "a bias broadcasts the scores, or its shape or type is not known"};
  }
  if (!walk->strict) {
    Record(bias, *shape, walk);
    return scores;
  }
  const auto mask = AdditiveMask(bias, walk->scale, *shape);
  if (mask && !IsFinite(mask->selector)) {
    return Refusal{"strict_mask",
                   "-inf is added to masked scores: what a row in which every position is masked gives is "
                   "up to the softmax that computes it (strict=True)"};
  }
  walk->biases.push_back({bias, walk->scale, *shape});
  return scores;
}

Outcome TakeSelect(const AnfNodePtr &node, Walk *walk) {
  const std::string op = OpName(node);
  if (op == "MaskedFill" || op == "MaskedFillScalar") {
    const auto value = NumberOf(Operand(node, 2));
    if (!value) return Refusal{"mask_value", "the value that masked scores are set to is not a constant"};
    return Hide(node, Operand(node, 1), true, *value, Operand(node, 0), walk);
  }
  if (op != "Select") return NotMine{};
  const auto if_true = NumberOf(Operand(node, 1));
  const auto if_false = NumberOf(Operand(node, 2));
  if (if_true.has_value() == if_false.has_value()) {
    return Refusal{"mask_value", "the value that masked scores are set to is not a constant"};
  }
  return if_true ? Hide(node, Operand(node, 0), true, *if_true, Operand(node, 2), walk)
                 : Hide(node, Operand(node, 0), false, *if_false, Operand(node, 1), walk);
}

}  // namespace ifa::passes
