#include "passes/roles.h"

#include <vector>

namespace ifa::passes {

std::optional<MatMulShape> ShapeOfMatMul(const MatMul &matmul) {
  const auto lhs = ShapeOf(matmul.lhs);
  const auto rhs = ShapeOf(matmul.rhs);
  if (!lhs || !rhs || lhs->size() < 2 || rhs->size() < 2 || rhs->size() > lhs->size()) return std::nullopt;
  MatMulShape shape{Shape(lhs->begin(), lhs->end() - 2), *(lhs->end() - (matmul.transpose_lhs ? 1 : 2))};
  for (size_t i = 0; i + 2 < rhs->size(); ++i) {
    const int64_t from_rhs = (*rhs)[i];
    const int64_t from_lhs = shape.batches[i + lhs->size() - rhs->size()];
    if (from_lhs == 1 && from_rhs != 1) return std::nullopt;
  }
  return shape;
}

Roles KvRoles(const View &view, const MatMulShape &matmul, bool positions_last) {
  std::vector<Axis> axes = view.axes();
  const Axis last = axes.back();
  axes.pop_back();
  const Axis before_last = axes.back();
  axes.pop_back();
  axes.insert(axes.begin(), matmul.batches.size() - axes.size(), Axis{});
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i].empty() && matmul.batches[i] != 1) axes[i].push_back({Factor::kRepeat, 0, matmul.batches[i]});
  }
  axes.push_back({{Factor::kRepeat, 0, matmul.rows}});
  return {Concatenated(axes), positions_last ? last : before_last, positions_last ? before_last : last};
}

}  // namespace ifa::passes
