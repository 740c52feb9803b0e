#include "passes/steps.h"

namespace ifa::passes {

Outcome TakeCast(const mindspore::AnfNodePtr &node, Walk * /*walk*/) {
  if (!IsOp(node, "Cast")) return NotMine{};
  const auto input = Operand(node, 0);
  if (!IsFloat(TypeOf(node)) || !IsFloat(TypeOf(input))) return NotMine{};
  return input;
}

}  // namespace ifa::passes
