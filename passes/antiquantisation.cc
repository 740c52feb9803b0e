#include "passes/antiquantisation.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "passes/affine_row.h"
#include "passes/separated.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

struct Rows {
  AffineRow scale;
  AffineRow offset;
};

/// The shape (1, 1|kvN, 1, 1|D) of a parameter that varies by KV head and by channel, or not at all.
std::optional<Shape> ShapeOfParameter(const CacheUse &use, const View &view, const Shape &shape) {
  const Roles roles = KvRoles(view, use.matmul, use.positions_last);
  const auto rows = Split(roles.rows, {use.batch, use.kv_heads, use.group});
  return rows ? ShapeByHeadAndChannel((*rows)[1], roles.channels, shape) : std::nullopt;
}

/// The term's tensor in the shape (1, 1|kvN, 1, 1|D); nothing when it varies by more.
std::optional<SeparatedTensor> ParameterOf(const CacheUse &use, const AffineTerm &term) {
  std::vector<Move> moves{Broadcast(term.shape)};
  for (auto view = term.views.rbegin(); view != term.views.rend(); ++view) moves.push_back(Applied(*view));
  return Separated(term.parameter, moves,
                   [&](const View &view, const Shape &shape) { return ShapeOfParameter(use, view, shape); });
}

bool AddsBeforeMultiplying(const Dequantisation &dequantisation) {
  bool added = false;
  // From the matmul upwards, so the last operation comes first.
  for (const AffineTerm &term : dequantisation.terms) {
    if (added && !term.shifts()) return false;
    added = added || term.shifts();
    if (term.shifts() && term.scale != dequantisation.scale) return false;
  }
  return true;
}

Rows RowsOf(const GraphBuilder &builder, const AttentionSite &site, const MatMul &matmul, bool positions_last,
            const Dequantisation &dequantisation) {
  const CacheUse use{*ShapeOfMatMul(matmul), positions_last, site.batch, site.kv_heads, site.group};
  const Shape shape{1, site.kv_heads, 1, site.head_size};
  Rows rows{AffineRow(false, shape), AffineRow(true, shape)};
  rows.scale.Join(AffineTerm::Kind::kFactor, dequantisation.scale);
  for (const AffineTerm &term : dequantisation.terms) {
    AffineRow &row = term.shifts() ? rows.offset : rows.scale;
    if (const auto number = NumberOf(term.parameter)) {
      row.Join(term.kind, *number);
    } else {
      const auto parameter = ParameterOf(use, term);
      row.Join(builder, term.kind, builder.Reshape(parameter->tensor, parameter->shape));
    }
  }
  return rows;
}

AnfNodePtr BothRows(const GraphBuilder &builder, const AttentionSite &site, const AffineRow &key,
                    const AffineRow &value) {
  const Shape both{2, site.kv_heads, 1, site.head_size};
  const Shape result = site.layout == KvLayout::kBnsd ? both : Shape{2, site.kv_heads * site.head_size};
  if (key.number() && value.number()) {
    return builder.Filled({*key.number(), *value.number()}, site.type, result);
  }
  const AnfNodePtr key_row = key.Build(builder);
  const AnfNodePtr rows = builder.TupleOf({key_row, value.Build(builder)});
  const AnfNodePtr joined = builder.Call("Concat", {rows, builder.Integer(0)}, TypeOf(key_row), both);
  return builder.Cast(builder.Reshape(joined, result), site.type);
}

}  // namespace

bool CanFold(const Dequantisation &dequantisation, const CacheUse &use) {
  const auto &terms = dequantisation.terms;
  return AddsBeforeMultiplying(dequantisation) &&
         std::all_of(terms.begin(), terms.end(), [&](const AffineTerm &term) {
           return NumberOf(term.parameter) || ParameterOf(use, term);
         });
}

Antiquantisation BuildAntiquantisation(const GraphBuilder &builder, const AttentionSite &site) {
  if (!site.quantised()) return {builder.None(), builder.None()};
  const MatMul score = *MatMulOf(site.score_matmul);
  const MatMul value = *MatMulOf(site.value_matmul);
  const auto [key_scale, key_offset] =
      RowsOf(builder, site, score, !score.transpose_rhs, site.key_dequantisation);
  const auto [value_scale, value_offset] =
      RowsOf(builder, site, value, value.transpose_rhs, site.value_dequantisation);
  const bool shifted = key_offset.number() != 0.0 || value_offset.number() != 0.0;
  return {BothRows(builder, site, key_scale, value_scale),
          shifted ? BothRows(builder, site, key_offset, value_offset) : builder.None()};
}

}  // namespace ifa::passes
