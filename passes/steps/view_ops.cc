#include <algorithm>
#include <functional>
#include <map>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using Apply = bool (*)(const AnfNodePtr &node, View *view);

bool ApplyReshape(const AnfNodePtr &node, View *view) {
  const auto shape = ShapeOf(node);
  return shape && view->Reshape(*shape);
}

bool ApplyTranspose(const AnfNodePtr &node, View *view) {
  const auto permutation = IntegersOf(Operand(node, 1));
  return permutation && view->Transpose(*permutation);
}

bool ApplySwap(const AnfNodePtr &node, View *view) {
  const auto first = IntegersOf(Operand(node, 1));
  const auto second = IntegersOf(Operand(node, 2));
  if (!first || !second || first->size() != 1 || second->size() != 1) return false;
  const int64_t rank = view->rank();
  const auto positive = [rank](int64_t axis) { return axis < 0 ? axis + rank : axis; };
  const int64_t a = positive((*first)[0]);
  const int64_t b = positive((*second)[0]);
  if (a < 0 || a >= rank || b < 0 || b >= rank) return false;
  Shape permutation;
  for (int64_t i = 0; i < rank; ++i) permutation.push_back(i == a ? b : i == b ? a : i);
  return view->Transpose(permutation);
}

bool ApplyExpandDims(const AnfNodePtr &node, View *view) {
  const auto axis = IntegersOf(Operand(node, 1));
  return axis && axis->size() == 1 && view->ExpandDims((*axis)[0]);
}

bool ApplyBroadcast(const AnfNodePtr &node, View *view) {
  const auto shape = ShapeOf(node);
  return shape && view->BroadcastTo(*shape);
}

bool ApplyTile(const AnfNodePtr &node, View *view) {
  const auto multiples = IntegersOf(Operand(node, 1));
  return multiples && view->Tile(*multiples);
}

bool ApplyRepeatInterleave(const AnfNodePtr &node, View *view) {
  const auto repeats = IntegersOf(Operand(node, 1));
  const auto axis = IntegersOf(Operand(node, 2));
  return repeats && axis && repeats->size() == 1 && axis->size() == 1 &&
         view->RepeatInterleave((*repeats)[0], (*axis)[0]);
}

/// Indexing with None, x[:, :, None], is an ExpandDims and a slice that leaves nothing out.
bool IsWholeSlice(const AnfNodePtr &node) {
  if (!IsOp(node, "StridedSlice")) return false;
  const auto shape = ShapeOf(node);
  const auto strides = IntegersOf(Operand(node, 3));
  return shape && strides && Size(*shape) != kDynamic && shape == ShapeOf(Operand(node, 0)) &&
         std::all_of(strides->begin(), strides->end(), [](int64_t stride) { return stride == 1; });
}

/// A stack of nothing but one tensor repeats it along a new axis.
bool IsStackOfCopies(const AnfNodePtr &node) {
  const AnfNodePtr tensors = Operand(node, 0);
  if (!IsOp(node, "Stack") || !IsOp(tensors, "MakeTuple")) return false;
  for (size_t i = 0; i < OperandCount(tensors); ++i) {
    if (Operand(tensors, i) != Operand(tensors, 0)) return false;
  }
  return true;
}

bool ApplyStack(const AnfNodePtr &node, View *view) {
  const auto shape = ShapeOf(node);
  const auto axis = mindspore::GetCNodePrimitive(node)->GetAttr("axis");
  return shape && axis != nullptr && axis->isa<mindspore::Int64Imm>() &&
         view->ExpandDims(mindspore::GetValue<int64_t>(axis)) && view->BroadcastTo(*shape);
}

// Squeeze and Flatten only change how the same elements are counted, which is what a reshape to the result's
// shape does.
const std::map<std::string, Apply> &ViewOps() {
  static const std::map<std::string, Apply> kOps = {
      {"Reshape", ApplyReshape},
      {"Squeeze", ApplyReshape},
      {"FlattenExt", ApplyReshape},
      {"View", ApplyReshape},
      {"Transpose", ApplyTranspose},
      {"TransposeView", ApplyTranspose},
      {"TransposeExt", ApplySwap},
      {"TransposeExtView", ApplySwap},
      {"ExpandDims", ApplyExpandDims},
      {"ExpandDimsView", ApplyExpandDims},
      {"BroadcastTo", ApplyBroadcast},
      {"BroadcastToView", ApplyBroadcast},
      {"Tile", ApplyTile},
      {"RepeatInterleaveInt", ApplyRepeatInterleave},
  };
  return kOps;
}

}  // namespace

bool IsView(const AnfNodePtr &node) {
  return ViewOps().count(OpName(node)) != 0 || IsWholeSlice(node) || IsStackOfCopies(node);
}

AnfNodePtr ViewSource(const AnfNodePtr &node) {
  return IsStackOfCopies(node) ? Operand(Operand(node, 0), 0) : Operand(node, 0);
}

bool ApplyView(const AnfNodePtr &node, View *view) {
  if (IsWholeSlice(node)) return true;
  if (IsStackOfCopies(node)) return ApplyStack(node, view);
  const auto op = ViewOps().find(OpName(node));
  return op != ViewOps().end() && op->second(node, view);
}

Outcome TakeRowReshape(const AnfNodePtr &node, Walk * /*walk*/) {
  if (!IsView(node)) return NotMine{};
  const auto input = Operand(node, 0);
  const auto before = ShapeOf(input);
  const auto after = ShapeOf(node);
  if (!before || !after || before->empty() || after->empty()) return NotMine{};
  View view(*before);
  if (!ApplyView(node, &view))
    return Refusal{"score_layout",
                   "the scores are moved by " + OpName(node) + " in a way that can't be followed"};
  const Axis positions = Normalised(view.axes().back());
  const bool same_rows = IsSourceInOrder(Concatenated(view.axes()), *before);
  const bool same_positions = positions == Normalised(View(*before).axes().back());
  if (!same_rows || !same_positions) {
    return Refusal{"score_layout",
                   OpName(node) +
                       " moves positions or heads between the score matmul, the softmax and the "
                       "value matmul"};
  }
  return input;
}

}  // namespace ifa::passes
