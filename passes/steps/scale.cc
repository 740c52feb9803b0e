#include <cmath>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

bool IsProduct(const std::string &op) { return op == "Mul" || op == "Muls"; }
bool IsQuotient(const std::string &op) { return op == "Div" || op == "Divs" || op == "RealDiv"; }

}  // namespace

Outcome TakeScale(const mindspore::AnfNodePtr &node, Walk *walk) {
  const std::string op = OpName(node);
  if (!IsProduct(op) && !IsQuotient(op)) return NotMine{};
  auto input = Operand(node, 0);
  auto number = NumberOf(Operand(node, 1));
  if (!number && IsProduct(op)) {
    number = NumberOf(Operand(node, 0));
    input = Operand(node, 1);
  }
  if (!number) return NotMine{};
  const double factor = IsProduct(op) ? *number : 1.0 / *number;
  // A constant of a larger shape would broadcast its input.
  if (!std::isfinite(factor) || !IsFloat(TypeOf(input)) || ShapeOf(input) != ShapeOf(node)) return NotMine{};
  walk->scale *= factor;
  return input;
}

}  // namespace ifa::passes
