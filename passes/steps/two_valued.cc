#include <algorithm>
#include <functional>
#include <optional>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

bool IsBool(const AnfNodePtr &node) { return TypeOf(node) == mindspore::kNumberTypeBool; }

std::optional<TwoValued> Chosen(const AnfNodePtr &condition, std::optional<double> if_true,
                                std::optional<double> if_false, const AnfNodePtr &result) {
  const auto shape = ShapeOf(result);
  if (!if_true || !if_false || !IsBool(condition) || !shape) return std::nullopt;
  return TwoValued{condition, *if_true, *if_false, *shape, {}};
}

/// Arithmetic with a number, on both values. A result of another shape has been broadcast and is given up.
std::optional<TwoValued> Mapped(const AnfNodePtr &node, const AnfNodePtr &input,
                                const std::function<double(double)> &map) {
  auto result = ShapeOf(node) == ShapeOf(input) ? TwoValuedOf(input) : std::nullopt;
  if (!result) return std::nullopt;
  result->if_true = map(result->if_true);
  result->if_false = map(result->if_false);
  return result;
}

std::optional<TwoValued> Arithmetic(const AnfNodePtr &node,
                                    const std::function<double(double, double)> &map) {
  const auto lhs = Operand(node, 0);
  const auto rhs = Operand(node, 1);
  if (const auto number = NumberOf(rhs)) return Mapped(node, lhs, [&](double x) { return map(x, *number); });
  if (const auto number = NumberOf(lhs)) return Mapped(node, rhs, [&](double x) { return map(*number, x); });
  return std::nullopt;
}

}  // namespace

std::optional<TwoValued> TwoValuedOf(const AnfNodePtr &node) {
  const std::string op = OpName(node);
  const auto input = Operand(node, 0);
  if (op == "Cast") return IsBool(input) ? Chosen(input, 1.0, 0.0, node) : TwoValuedOf(input);
  if (op == "Select") return Chosen(input, NumberOf(Operand(node, 1)), NumberOf(Operand(node, 2)), node);
  if (op == "MaskedFill" || op == "MaskedFillScalar") {
    return Chosen(Operand(node, 1), NumberOf(Operand(node, 2)), NumberOf(input), node);
  }
  if (op == "Mul" || op == "Muls") return Arithmetic(node, [](double x, double y) { return x * y; });
  if (op == "Div" || op == "Divs" || op == "RealDiv")
    return Arithmetic(node, [](double x, double y) { return x / y; });
  if (op == "Sub") return Arithmetic(node, [](double x, double y) { return x - y; });
  if (op == "Add") return Arithmetic(node, [](double x, double y) { return x + y; });
  if (op == "Neg") return Mapped(node, input, [](double x) { return -x; });
  if (IsView(node)) {
    auto result = TwoValuedOf(input);
    if (result) result->views.push_back(node->cast<mindspore::CNodePtr>());
    return result;
  }
  return std::nullopt;
}

}  // namespace ifa::passes
