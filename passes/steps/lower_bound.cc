#include "passes/steps.h"

namespace ifa::passes {

Outcome TakeLowerBound(const mindspore::AnfNodePtr &node, Walk *walk) {
  const bool raises = IsOp(node, "Maximum") || (IsOp(node, "ClampScalar") && IsNone(Operand(node, 2)));
  if (!raises || !IsFloat(TypeOf(node))) return NotMine{};
  const bool first = !NumberOf(Operand(node, 0));
  const auto input = Operand(node, first ? 0 : 1);
  const auto bound = NumberOf(Operand(node, first ? 1 : 0));
  if (!bound || *bound > LowestOf(TypeOf(node)) || ShapeOf(input) != ShapeOf(node)) return NotMine{};
  if (walk->strict) {
    return Refusal{"strict_mask",
                   "scores that a mask made -inf are raised to the lowest number, which a row in which every "
                   "position is masked would not keep (strict=True)"};
  }
  return input;
}

}  // namespace ifa::passes
