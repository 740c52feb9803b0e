#include "passes/steps.h"

namespace ifa::passes {

using mindspore::AnfNodePtr;

bool IsFloatCast(const AnfNodePtr &node) {
  return IsOp(node, "Cast") && IsFloat(TypeOf(node)) && IsFloat(TypeOf(Operand(node, 0)));
}

AnfNodePtr BehindCasts(AnfNodePtr node) {
  while (IsFloatCast(node)) node = Operand(node, 0);
  return node;
}

Outcome TakeCast(const AnfNodePtr &node, Walk * /*walk*/) {
  if (!IsFloatCast(node)) return NotMine{};
  return Operand(node, 0);
}

}  // namespace ifa::passes
