#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

/// Whether the value is that of one place in the order of side effects, and not memory that changes.
bool IsDefinite(const AnfNodePtr &node) { return MonadOf(node) == nullptr || IsOp(node, "Load"); }

bool AreIds(const AnfNodePtr &node) {
  return TypeOf(node) == mindspore::kNumberTypeInt32 || TypeOf(node) == mindspore::kNumberTypeInt64;
}

}  // namespace

std::optional<BlockGather> BlockGatherOf(const AnfNodePtr &node) {
  const bool selects = IsOp(node, "IndexSelect");  // of (tensor, axis, ids), Gather of (.., ids, axis, 0)
  if (!selects && !IsOp(node, "Gather")) return std::nullopt;
  const AnfNodePtr blocks = Operand(node, 0);
  const AnfNodePtr table = Operand(node, selects ? 2 : 1);
  const bool whole = IntegersOf(Operand(node, selects ? 1 : 2)) == Shape{0} &&
                     (selects || IntegersOf(Operand(node, 3)) == Shape{0});
  if (!whole || !AreIds(table) || !IsDefinite(blocks) || !IsDefinite(table)) return std::nullopt;
  return BlockGather{blocks, table};
}

}  // namespace ifa::passes
