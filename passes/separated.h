// Tensors that meet the scores or the cache by broadcasting, taken from above the views that spell the
// broadcast out, so that only what differs is materialised.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "passes/ir.h"

namespace ifa::passes {

/// One operation between a tensor and the place where it is used.
using Move = std::function<bool(View *view)>;

Move Broadcast(const Shape &shape);
Move Applied(const mindspore::AnfNodePtr &view_operation);

/// The shape that a tensor is wanted in, from its view at the place where it is used and its own shape;
/// nothing when it is not laid out so.
using ShapeOfSeparated = std::function<std::optional<Shape>(const View &view, const Shape &shape)>;

/// A tensor and the shape that it is wanted in.
struct SeparatedTensor {
  mindspore::AnfNodePtr tensor;
  Shape shape;
};

/// The farthest tensor at or above this one, through views, that can be reshaped as wanted; nothing when none
/// can.
/// @param moves what stands between the tensor and the place where it is used.
std::optional<SeparatedTensor> Separated(mindspore::AnfNodePtr tensor, std::vector<Move> moves,
                                         const ShapeOfSeparated &wanted);

/// Whether MindSpore's Reshape can bring the tensor into the shape: it infers at most one size.
bool CanReshape(const mindspore::AnfNodePtr &tensor, const Shape &shape);

}  // namespace ifa::passes
