#include <map>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using Kind = AffineTerm::Kind;

std::optional<Kind> KindOf(const AnfNodePtr &node) {
  static const std::map<std::string, Kind> kKinds = {
      {"Mul", Kind::kFactor},        {"Muls", Kind::kFactor},          {"Div", Kind::kDivisor},
      {"Divs", Kind::kDivisor},      {"RealDiv", Kind::kDivisor},      {"Add", Kind::kSummand},
      {"AddExt", Kind::kSummand},    {"AddScalar", Kind::kSummand},    {"Sub", Kind::kSubtrahend},
      {"SubExt", Kind::kSubtrahend}, {"SubScalar", Kind::kSubtrahend},
  };
  const auto kind = kKinds.find(OpName(node));
  if (kind == kKinds.end()) return std::nullopt;
  const AnfNodePtr alpha = Operand(node, 2);  // of what `mint` adds and subtracts
  return alpha == nullptr || NumberOf(alpha) == 1.0 ? std::optional<Kind>(kind->second) : std::nullopt;
}

}  // namespace

std::optional<AffineTerm> AffineOf(const AnfNodePtr &node, const AnfNodePtr &input) {
  const auto kind = KindOf(node);
  const auto shape = ShapeOf(node);
  const bool first = Operand(node, 0) == input;
  const bool commutes = kind == Kind::kFactor || kind == Kind::kSummand;
  if (!kind || !shape || shape != ShapeOf(input) || !IsFloat(TypeOf(node)) || (!first && !commutes)) {
    return std::nullopt;
  }
  const AnfNodePtr parameter = Operand(node, first ? 1 : 0);
  if (!ShapeOf(parameter) && !NumberOf(parameter)) return std::nullopt;
  return AffineTerm{*kind, parameter, *shape, {}, 1};
}

}  // namespace ifa::passes
