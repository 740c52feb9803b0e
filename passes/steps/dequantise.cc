#include "passes/steps.h"

namespace ifa::passes {

using mindspore::AnfNodePtr;

Outcome TakeDequantisation(const AnfNodePtr &node, Walk *walk) {
  if (IsOp(node, "Cast") && IsFloat(TypeOf(node)) && IsInt8(Operand(node, 0))) {
    walk->widest = Wider(walk->widest, TypeOf(node));
    return Operand(node, 0);
  }
  for (const size_t index : {0, 1}) {
    const AnfNodePtr input = Operand(node, index);
    auto term = AffineOf(node, input);
    // Tensors of equal shapes are joined for other reasons, rotary embeddings for one.
    if (!term || ShapeOf(term->parameter) == term->shape || (!IsFloat(TypeOf(input)) && !IsInt8(input)))
      continue;
    term->views = walk->views;
    term->scale = walk->scale;
    walk->terms.push_back(*term);
    walk->widest = Wider(walk->widest, TypeOf(node));
    return input;
  }
  return NotMine{};
}

}  // namespace ifa::passes
