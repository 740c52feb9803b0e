#include "passes/steps.h"

namespace ifa::passes {

std::optional<MatMul> MatMulOf(const mindspore::AnfNodePtr &node) {
  const std::string op = OpName(node);
  if (op == "MatMulExt" || op == "BatchMatMulExt")
    return MatMul{Operand(node, 0), Operand(node, 1), false, false};
  if (op != "MatMul" && op != "BatchMatMul") return std::nullopt;
  const auto transpose_lhs = FlagOf(Operand(node, 2));
  const auto transpose_rhs = FlagOf(Operand(node, 3));
  if (!transpose_lhs || !transpose_rhs) return std::nullopt;
  return MatMul{Operand(node, 0), Operand(node, 1), *transpose_lhs, *transpose_rhs};
}

}  // namespace ifa::passes
