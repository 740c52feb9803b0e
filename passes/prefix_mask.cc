#include "passes/prefix_mask.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "passes/score_terms.h"
#include "passes/separated.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::TypeId;

constexpr auto kLong = mindspore::kNumberTypeInt64;
constexpr int64_t kMostInFp32 = int64_t{1} << 24;  // fp32 holds all integers up to here

/// A tensor, and what stands between it and the scores.
struct Traced {
  AnfNodePtr tensor;
  std::vector<Move> moves;
};

/// The farthest tensor above, through views and what else is transparent.
/// @param above the node above one that is transparent; null for others.
/// @param passed gets the nodes in between.
Traced Trace(AnfNodePtr node, std::vector<Move> moves,
             const std::function<AnfNodePtr(const AnfNodePtr &node)> &above,
             std::vector<AnfNodePtr> *passed) {
  AnfNodePtr below;
  while (true) {
    const AnfNodePtr viewed = ViewedBy(node, below);
    const AnfNodePtr next = viewed != nullptr ? viewed : above(node);
    if (next == nullptr) return {node, std::move(moves)};
    if (IsView(node)) moves.insert(moves.begin(), Applied(node));
    passed->push_back(node);
    below = node;
    node = next;
  }
}

/// (1|B, 1|N, 1, 1|S) where the tensor varies along these, or nothing.
std::optional<Shape> VariesAlong(const AttentionSite &site, const Traced &traced) {
  const auto separated = Separated(
      traced.tensor, traced.moves,
      [&site](const View &view, const Shape &shape) { return ShapeByRowAndPosition(site, view, shape); });
  return separated ? std::optional<Shape>(separated->shape) : std::nullopt;
}

bool IsInteger(TypeId type) { return type == mindspore::kNumberTypeInt32 || type == kLong; }

/// Whether numbers of the type compare with the positions 0 to S-1 as the integers do that they were cast
/// from.
bool Compares(TypeId type, int64_t length) {
  const bool fits = length != kDynamic && length <= kMostInFp32;
  return IsInteger(type) || (type == mindspore::kNumberTypeFloat32 && fits);
}

/// Of the key's shape, where the number of positions is known only to the run; nothing where no axis holds
/// just that. In both layouts the batch comes first.
std::optional<int64_t> DynamicPositionsAxis(const AttentionSite &site) {
  const Shape shape = *ShapeOf(site.key);
  const auto begin = shape.begin() + (site.batch == kDynamic ? 1 : 0);
  const auto axis = std::find(begin, shape.end(), kDynamic);
  const bool only = axis != shape.end() && std::find(axis + 1, shape.end(), kDynamic) == shape.end();
  return only ? std::optional<int64_t>(axis - shape.begin()) : std::nullopt;
}

/// Whether a scalar is the number of the site's positions, where only the run knows that: a size of the key's
/// shape, or one that the key was reshaped to.
bool IsKvLength(AnfNodePtr node, const AttentionSite &site) {
  const auto axis = DynamicPositionsAxis(site);
  if (!axis) return false;
  while (IsOp(node, "TensorToScalar") ||
         ((IsOp(node, "ScalarToTensor") || IsOp(node, "Cast")) && IsInteger(TypeOf(node)))) {
    node = Operand(node, 0);
  }
  const AnfNodePtr sizes = IsOp(site.key, "Reshape") ? Operand(site.key, 1) : nullptr;
  if (IsOp(sizes, "MakeTuple") && Operand(sizes, static_cast<size_t>(*axis)) == node) return true;
  const AnfNodePtr shape = IsOp(node, "TupleGetItem") ? Operand(node, 0) : nullptr;
  return IsOp(shape, "Shape") && Operand(shape, 0) == site.key &&
         IntegersOf(Operand(node, 1)) == Shape{*axis};
}

/// Whether the tensor is 0, 1, 2, ..., S-1.
bool HoldsPositions(const AnfNodePtr &tensor, const AttentionSite &site) {
  if (!Compares(TypeOf(tensor), site.kv_length) || Size(*ShapeOf(tensor)) != site.kv_length) return false;
  if (IsOp(tensor, "Range") || IsOp(tensor, "Arange")) {
    return NumberOf(Operand(tensor, 0)) == 0.0 && NumberOf(Operand(tensor, 2)) == 1.0 &&
           (site.kv_length != kDynamic || IsKvLength(Operand(tensor, 1), site));
  }
  return CountsFromZero(tensor);
}

/// Positions compared with numbers, the positions on the left.
struct Comparison {
  bool less = false;
  bool or_equal = false;
  AnfNodePtr positions;
  AnfNodePtr numbers;
};

/// Both readings of a comparison, since either operand can be the positions; none of another operation.
std::vector<Comparison> ComparisonsOf(const AnfNodePtr &node) {
  static const std::map<std::string, std::pair<bool, bool>> kLessOrEqual = {
      {"Less", {true, false}},
      {"LessEqual", {true, true}},
      {"Greater", {false, false}},
      {"GreaterEqual", {false, true}},
  };
  const auto found = kLessOrEqual.find(OpName(node));
  if (found == kLessOrEqual.end()) return {};
  const auto [less, or_equal] = found->second;
  return {{less, or_equal, Operand(node, 0), Operand(node, 1)},
          {!less, or_equal, Operand(node, 1), Operand(node, 0)}};
}

bool ArePositions(AttentionSite *site, const AnfNodePtr &node, const std::vector<Move> &moves) {
  const auto above = [site](const AnfNodePtr &cast) {
    return IsOp(cast, "Cast") && Compares(TypeOf(cast), site->kv_length) ? Operand(cast, 0) : nullptr;
  };
  const Traced positions = Trace(node, moves, above, &site->passed);
  return VariesAlong(*site, positions) == Shape{1, 1, 1, site->kv_length} &&
         HoldsPositions(positions.tensor, *site);
}

/// The integers, one for all sequences or one a sequence, that a tensor shows; null for any other tensor.
AnfNodePtr NumbersOf(AttentionSite *site, const AnfNodePtr &node, const std::vector<Move> &moves) {
  const auto above = [site](const AnfNodePtr &cast) -> AnfNodePtr {
    if (!IsOp(cast, "Cast") || !Compares(TypeOf(cast), site->kv_length)) return nullptr;
    const TypeId from = TypeOf(Operand(cast, 0));
    const bool cuts = from == kLong && TypeOf(cast) != kLong && IsInteger(TypeOf(cast));
    return IsInteger(from) && !cuts ? Operand(cast, 0) : nullptr;
  };
  const Traced numbers = Trace(node, moves, above, &site->passed);
  const AnfNodePtr &tensor = numbers.tensor;
  const bool is_value = MonadOf(tensor) == nullptr || IsOp(tensor, "Load");
  if (!IsInteger(TypeOf(tensor)) || !is_value) return nullptr;
  const auto shape = VariesAlong(*site, numbers);
  return shape && (*shape)[1] == 1 && shape->back() == 1 ? tensor : nullptr;
}

std::optional<Prefix> PrefixOf(AttentionSite *site, const Mask &mask) {
  bool hidden_when = mask.hidden_when;
  const auto above = [&hidden_when](const AnfNodePtr &node) -> AnfNodePtr {
    if (!IsOp(node, "LogicalNot")) return nullptr;
    hidden_when = !hidden_when;
    return Operand(node, 0);
  };
  Traced condition = Trace(mask.selector.condition, MovesOf(mask), above, &site->passed);
  const auto shape = ShapeOf(condition.tensor);
  if (!shape) return std::nullopt;
  std::vector<Move> &moves = condition.moves;
  moves.insert(moves.begin(), Broadcast(*shape));
  for (const Comparison &comparison : ComparisonsOf(condition.tensor)) {
    if (comparison.less == hidden_when || !ArePositions(site, comparison.positions, moves)) continue;
    const AnfNodePtr numbers = NumbersOf(site, comparison.numbers, moves);
    if (numbers == nullptr) continue;
    return Prefix{numbers, comparison.or_equal != hidden_when, Size(*ShapeOf(numbers))};
  }
  return std::nullopt;
}

AnfNodePtr Number(const GraphBuilder &builder, int64_t value) {
  return builder.Filled({static_cast<double>(value)}, kLong, {1});
}

/// int64 (1,): S - `less`.
AnfNodePtr KvLengthLess(const GraphBuilder &builder, const AttentionSite &site, int64_t less) {
  if (site.kv_length != kDynamic) return Number(builder, site.kv_length - less);
  const auto rank = static_cast<int64_t>(ShapeOf(site.key)->size());
  const AnfNodePtr sizes = builder.Call("TensorShape", {site.key}, kLong, {rank});
  const AnfNodePtr axis = Number(builder, *DynamicPositionsAxis(site));
  const AnfNodePtr length =
      builder.Call("Gather", {sizes, axis, builder.Integer(0), builder.Integer(0)}, kLong, {1});
  return builder.Call("Sub", {length, Number(builder, less)}, kLong, {1});
}

/// The number of positions that a prefix shows, int64 (1|B,).
AnfNodePtr BuildLength(const GraphBuilder &builder, const AttentionSite &site, const Prefix &prefix) {
  const Shape shape{prefix.count};
  const int64_t more = prefix.inclusive ? 1 : 0;
  AnfNodePtr length = builder.Reshape(builder.Cast(prefix.numbers, kLong), shape);
  length = builder.Call("Maximum", {length, Number(builder, -more)}, kLong, shape);
  length = builder.Call("Minimum", {length, KvLengthLess(builder, site, more)}, kLong, shape);
  return more == 0 ? length : builder.Call("Add", {length, Number(builder, more)}, kLong, shape);
}

}  // namespace

void FindPrefixes(AttentionSite *site, MemoryOrder *order) {
  if (site->strict) return;
  for (Mask &mask : site->masks) {
    const auto prefix = PrefixOf(site, mask);
    if (prefix && !order->WrittenBefore(site->result(), prefix->numbers)) mask.prefix = prefix;
  }
}

AnfNodePtr BuildLengths(const GraphBuilder &builder, const AttentionSite &site, SharedTensors *shared) {
  AnfNodePtr shortest;
  for (const Mask &mask : site.masks) {
    if (!mask.prefix) continue;
    // Layers share their lengths, unless each has a number of positions that only the run knows.
    const std::string what =
        (mask.prefix->inclusive ? "last of " : "length of ") + std::to_string(site.kv_length);
    const auto key = std::make_tuple(site.value_matmul->func_graph(), mask.prefix->numbers, what);
    AnfNodePtr length = site.kv_length == kDynamic ? nullptr : (*shared)[key];
    if (length == nullptr) (*shared)[key] = length = BuildLength(builder, site, *mask.prefix);
    if (shortest == nullptr) {
      shortest = length;
    } else {
      const Shape shape = ShapeOf(shortest) == Shape{1} ? *ShapeOf(length) : *ShapeOf(shortest);
      shortest = builder.Call("Minimum", {shortest, length}, kLong, shape);
    }
  }
  return shortest;
}

}  // namespace ifa::passes
