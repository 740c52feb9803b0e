#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

/// Whether the value is that of one place in the order of side effects, and not memory that changes.
bool IsDefinite(const AnfNodePtr &node) { return MonadOf(node) == nullptr || IsOp(node, "Load"); }

bool AreIds(const AnfNodePtr &node) {
  return TypeOf(node) == mindspore::kNumberTypeInt32 || TypeOf(node) == mindspore::kNumberTypeInt64;
}

/// The numbers of the blocks, where whole blocks are gathered along the first axis; else null.
AnfNodePtr TableOf(const AnfNodePtr &node) {
  const Shape first_axis{0};
  if (IsOp(node, "IndexSelect"))
    return IntegersOf(Operand(node, 1)) == first_axis ? Operand(node, 2) : nullptr;
  if (IsOp(node, "Gather")) {
    const bool whole = IntegersOf(Operand(node, 2)) == first_axis && IntegersOf(Operand(node, 3)) == Shape{0};
    return whole ? Operand(node, 1) : nullptr;
  }
  // GatherNd wants each number alone in the last axis.
  const AnfNodePtr alone = Operand(node, 1);
  auto shape = ShapeOf(Operand(alone, 0));
  if (!IsOp(node, "GatherNd") || !IsOp(alone, "ExpandDims") || !shape) return nullptr;
  shape->push_back(1);
  return ShapeOf(alone) == shape ? Operand(alone, 0) : nullptr;
}

}  // namespace

std::optional<BlockGather> BlockGatherOf(const AnfNodePtr &node) {
  const AnfNodePtr blocks = Operand(node, 0);
  const AnfNodePtr table = TableOf(node);
  if (table == nullptr || !AreIds(table) || !IsDefinite(blocks) || !IsDefinite(table)) return std::nullopt;
  return BlockGather{blocks, table};
}

}  // namespace ifa::passes
