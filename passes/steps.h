// Steps: each knows one concept of written-out attention. A walk asks the steps, node by node, to take it on.
// A new spelling of a concept is a change in its step, and nowhere else.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "passes/attention_site.h"

namespace ifa::passes {

/// What a walk has met so far, counted from where it began.
struct Walk {
  double scale = 1;  ///< product of the scalars
  std::vector<Mask> masks;
  std::vector<Bias> biases;
  bool strict = false;                       ///< rows in which every position is masked must be kept
  std::vector<mindspore::AnfNodePtr> views;  ///< of a key or value
  std::vector<AffineTerm> terms;             ///< of a key or value
  mindspore::TypeId widest = mindspore::kTypeUnknown;  ///< in which a key or value was computed
};

/// A step either does not know the node, or takes it and names the operand where the walk goes on, or refuses
/// the site.
struct NotMine {};
using Outcome = std::variant<NotMine, mindspore::AnfNodePtr, Refusal>;

/// Whether the node changes one floating-point type for another.
bool IsFloatCast(const mindspore::AnfNodePtr &node);
/// The first node upwards, from this one on, that does not.
mindspore::AnfNodePtr BehindCasts(mindspore::AnfNodePtr node);

/// A change of the element type. In real arithmetic it changes nothing.
Outcome TakeCast(const mindspore::AnfNodePtr &node, Walk *walk);

/// A product with, or quotient by, a number that is known at compile time.
Outcome TakeScale(const mindspore::AnfNodePtr &node, Walk *walk);

/// What a product, quotient, sum or difference does to one of its operands, of its own shape, with the other;
/// nothing for other operations, and where the operand divides or is subtracted.
std::optional<AffineTerm> AffineOf(const mindspore::AnfNodePtr &node, const mindspore::AnfNodePtr &input);

/// What brings an int8 cache to numbers: the change of its type, and products, quotients, sums and
/// differences with numbers and with tensors that broadcast.
Outcome TakeDequantisation(const mindspore::AnfNodePtr &node, Walk *walk);

/// A reshape of the scores or probabilities that leaves their last axis, the positions, alone.
Outcome TakeRowReshape(const mindspore::AnfNodePtr &node, Walk *walk);

/// Whether the node adds its operands as they are.
bool IsSum(const mindspore::AnfNodePtr &node);

/// A tensor added to the scores: a bias, or a mask when its values can be proved to be 0 and -1e4 or less.
Outcome TakeBias(const mindspore::AnfNodePtr &node, Walk *walk);

/// Scores replaced by a large negative number where a condition holds.
Outcome TakeSelect(const mindspore::AnfNodePtr &node, Walk *walk);

/// Scores of -inf raised to the lowest number of their type, which changes no other.
Outcome TakeLowerBound(const mindspore::AnfNodePtr &node, Walk *walk);

using Step = Outcome (*)(const mindspore::AnfNodePtr &node, Walk *walk);

/// The operations that only move or repeat elements: Reshape, Transpose, ExpandDims, Squeeze, BroadcastTo,
/// Tile, a Stack of copies and their like.
bool IsView(const mindspore::AnfNodePtr &node);
/// The tensor that such an operation moves.
mindspore::AnfNodePtr ViewSource(const mindspore::AnfNodePtr &node);
/// Applies such an operation to a view of that tensor.
/// @return false when the result can't be described as a view.
bool ApplyView(const mindspore::AnfNodePtr &node, View *view);

/// `mint` and tensor methods make views that share memory, ordered among side effects: TransposeExtView(x,
/// ..., monad), and Load(view, monad) where the value is needed.
/// @return for such a Load, and for the Load of any operator's result, what is loaded, when nothing between
/// the two, and nothing later, can write to its memory, so that the Load holds the view of x's value; null
/// otherwise.
mindspore::AnfNodePtr LoadedView(const mindspore::AnfNodePtr &node);

/// One node up, from a view or the Load of one.
/// @param below the node from which the walk came; null at its beginning.
/// @return what is viewed or loaded; null for other nodes, and where a write could come in between.
mindspore::AnfNodePtr ViewedBy(const mindspore::AnfNodePtr &node, const mindspore::AnfNodePtr &below);

/// Takes views that a rewrite left without a user out of the order of side effects, so that they are not
/// executed.
void DropUnusedViews(const std::vector<mindspore::AnfNodePtr> &views);

/// Any product of batches of matrices: MatMul, BatchMatMul, MatMulExt and their like.
struct MatMul {
  mindspore::AnfNodePtr lhs;
  mindspore::AnfNodePtr rhs;
  bool transpose_lhs = false;
  bool transpose_rhs = false;
};
std::optional<MatMul> MatMulOf(const mindspore::AnfNodePtr &node);

/// Rows of a tensor, gathered by their numbers; numbers below 0 count from the end.
struct BlockGather {
  mindspore::AnfNodePtr blocks;  ///< (blocks, ...)
  mindspore::AnfNodePtr table;   ///< int32 or int64, of any shape, which the result's shape begins with
};
std::optional<BlockGather> BlockGatherOf(const mindspore::AnfNodePtr &node);

/// Follows constants through casts, selections and scalar arithmetic down to one condition.
std::optional<TwoValued> TwoValuedOf(const mindspore::AnfNodePtr &node);

}  // namespace ifa::passes
