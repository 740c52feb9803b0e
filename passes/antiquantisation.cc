#include "passes/antiquantisation.h"

#include <optional>
#include <vector>

#include "passes/affine_row.h"
#include "passes/roles.h"
#include "passes/separated.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

/// A matmul with the int8 cache as its right factor.
struct CacheUse {
  MatMul matmul;
  bool positions_last;
};

struct Rows {
  AffineRow scale;
  AffineRow offset;
};

/// The shape (1, 1|kvN, 1, 1|D) of a parameter that varies by KV head and by channel, or not at all.
std::optional<Shape> ShapeOfParameter(const AttentionSite &site, const CacheUse &use, const View &view,
                                      const Shape &shape) {
  const Roles roles = KvRoles(view, *ShapeOfMatMul(use.matmul), use.positions_last);
  const auto rows = Split(roles.rows, {site.batch, site.kv_heads, site.group});
  return rows ? ShapeByHeadAndChannel((*rows)[1], roles.channels, shape) : std::nullopt;
}

/// The term's tensor in the shape (1, 1|kvN, 1, 1|D); null when it varies by more.
AnfNodePtr ParameterOf(const GraphBuilder &builder, const AttentionSite &site, const CacheUse &use,
                       const AffineTerm &term) {
  std::vector<Move> moves{Broadcast(term.shape)};
  for (auto view = term.views.rbegin(); view != term.views.rend(); ++view) moves.push_back(Applied(*view));
  return Separated(builder, term.parameter, moves, [&](const View &view, const Shape &shape) {
    return ShapeOfParameter(site, use, view, shape);
  });
}

std::variant<Rows, Refusal> RowsOf(const GraphBuilder &builder, const AttentionSite &site,
                                   const CacheUse &use, const Dequantisation &dequantisation) {
  const Shape shape{1, site.kv_heads, 1, site.head_size};
  Rows rows{AffineRow(false, shape), AffineRow(true, shape)};
  rows.scale.Join(AffineTerm::Kind::kFactor, dequantisation.scale);
  for (const AffineTerm &term : dequantisation.terms) {
    AffineRow &row = term.shifts() ? rows.offset : rows.scale;
    if (const auto number = NumberOf(term.parameter)) {
      row.Join(term.kind, *number);
    } else if (const AnfNodePtr tensor = ParameterOf(builder, site, use, term)) {
      row.Join(builder, term.kind, tensor);
    } else {
      return Refusal{"dequantisation",
                     "a scale or offset of an int8 cache varies by more than KV head and channel, or its "
                     "sizes are known only when the graph runs"};
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

std::variant<Antiquantisation, Refusal> BuildAntiquantisation(const GraphBuilder &builder,
                                                              const AttentionSite &site) {
  if (!site.quantised()) return Antiquantisation{builder.None(), builder.None()};
  const MatMul score = *MatMulOf(site.score_matmul);
  const MatMul value = *MatMulOf(site.value_matmul);
  const auto key_rows = RowsOf(builder, site, {score, !score.transpose_rhs}, site.key_dequantisation);
  if (const auto *refusal = std::get_if<Refusal>(&key_rows)) return *refusal;
  const auto value_rows = RowsOf(builder, site, {value, value.transpose_rhs}, site.value_dequantisation);
  if (const auto *refusal = std::get_if<Refusal>(&value_rows)) return *refusal;
  const auto &[key_scale, key_offset] = std::get<Rows>(key_rows);
  const auto &[value_scale, value_offset] = std::get<Rows>(value_rows);
  const bool shifted = key_offset.number() != 0.0 || value_offset.number() != 0.0;
  return Antiquantisation{BothRows(builder, site, key_scale, value_scale),
                          shifted ? BothRows(builder, site, key_offset, value_offset) : builder.None()};
}

}  // namespace ifa::passes
