#include "passes/nan_guard.h"

#include <algorithm>

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;

bool IsNanTest(const CNodePtr &node, const AnfNodePtr &tensor) {
  if (IsOp(node, "NotEqual")) return Operand(node, 0) == tensor && Operand(node, 1) == tensor;
  return IsOp(node, "IsNan") && Operand(node, 0) == tensor;
}

bool PutsZeroWhere(const CNodePtr &test, const CNodePtr &node, const AnfNodePtr &tensor) {
  if (ShapeOf(node) != ShapeOf(tensor)) return false;
  if (IsOp(node, "Select")) {
    return Operand(node, 0) == test && NumberOf(Operand(node, 1)) == 0.0 && Operand(node, 2) == tensor;
  }
  const bool fills = IsOp(node, "MaskedFill") || IsOp(node, "MaskedFillScalar");
  return fills && Operand(node, 0) == tensor && Operand(node, 1) == test && NumberOf(Operand(node, 2)) == 0.0;
}

}  // namespace

CNodePtr NanGuardOf(const AnfNodePtr &probabilities) {
  CNodePtr test;
  CNodePtr guard;
  for (const CNodePtr &user : UsersOf(probabilities)) {
    CNodePtr &role = IsNanTest(user, probabilities) ? test : guard;
    if (role != nullptr && role != user) return nullptr;
    role = user;
  }
  if (test == nullptr || guard == nullptr || !PutsZeroWhere(test, guard, probabilities)) return nullptr;
  const auto readers = UsersOf(test);
  const bool alone =
      std::all_of(readers.begin(), readers.end(), [&](const auto &user) { return user == guard; });
  return alone ? guard : nullptr;
}

}  // namespace ifa::passes
