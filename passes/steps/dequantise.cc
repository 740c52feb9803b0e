#include <map>
#include <utility>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using Kind = DequantTerm::Kind;

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

bool Commutes(Kind kind) { return kind == Kind::kFactor || kind == Kind::kSummand; }

}  // namespace

Outcome TakeDequantisation(const AnfNodePtr &node, Walk *walk) {
  const auto shape = ShapeOf(node);
  if (!shape || !IsFloat(TypeOf(node))) return NotMine{};
  AnfNodePtr cache = Operand(node, 0);
  if (IsOp(node, "Cast")) {
    if (!IsInt8(cache)) return NotMine{};
  } else {
    const auto kind = KindOf(node);
    if (!kind) return NotMine{};
    AnfNodePtr parameter = Operand(node, 1);
    if (Commutes(*kind) && ShapeOf(cache) != shape) std::swap(cache, parameter);
    // Tensors of equal shapes are joined for other reasons, rotary embeddings for one.
    const bool broadcasts = ShapeOf(cache) == shape && ShapeOf(parameter) != shape;
    const bool known = ShapeOf(parameter).has_value() || NumberOf(parameter).has_value();
    if (!broadcasts || !known || (!IsFloat(TypeOf(cache)) && !IsInt8(cache))) return NotMine{};
    walk->terms.push_back({*kind, parameter, *shape, walk->views, walk->scale});
  }
  const bool first = walk->dequantised == mindspore::kTypeUnknown;
  walk->dequantised = first ? TypeOf(node) : Wider(walk->dequantised, TypeOf(node));
  return cache;
}

}  // namespace ifa::passes
