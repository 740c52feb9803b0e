#include "passes/separated.h"

#include <algorithm>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

std::optional<Shape> SeparatedShape(const AnfNodePtr &tensor, const std::vector<Move> &moves,
                                    const ShapeOfSeparated &wanted) {
  const auto shape = ShapeOf(tensor);
  if (!shape) return std::nullopt;
  View view(*shape);
  if (!std::all_of(moves.begin(), moves.end(), [&](const Move &move) { return move(&view); }))
    return std::nullopt;
  const auto result = wanted(view, *shape);
  return result && CanReshape(tensor, *result) ? result : std::nullopt;
}

}  // namespace

Move Broadcast(const Shape &shape) {
  return [shape](View *view) { return view->BroadcastTo(shape); };
}

Move Applied(const AnfNodePtr &view_operation) {
  return [view_operation](View *view) { return ApplyView(view_operation, view); };
}

std::optional<SeparatedTensor> Separated(AnfNodePtr tensor, std::vector<Move> moves,
                                         const ShapeOfSeparated &wanted) {
  std::optional<SeparatedTensor> separated;
  while (true) {
    if (const auto shape = SeparatedShape(tensor, moves, wanted)) separated = {tensor, *shape};
    if (!IsView(tensor) || MonadOf(tensor) != nullptr) break;
    moves.insert(moves.begin(), Applied(tensor));
    tensor = Operand(tensor, 0);
  }
  return separated;
}

bool CanReshape(const AnfNodePtr &tensor, const Shape &shape) {
  return ShapeOf(tensor) == shape || std::count(shape.begin(), shape.end(), kDynamic) <= 1;
}

}  // namespace ifa::passes
