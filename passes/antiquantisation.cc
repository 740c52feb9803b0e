#include "passes/antiquantisation.h"

#include <optional>
#include <vector>

#include "passes/roles.h"
#include "passes/separated.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using Kind = DequantTerm::Kind;

constexpr auto kWide = mindspore::kNumberTypeFloat32;  // in which scales and offsets are put together

/// A matmul with the int8 cache as its right factor.
struct CacheUse {
  MatMul matmul;
  bool positions_last;
};

/// One row of the operator's scale or offset: a number, and a tensor of shape (1, kvN, 1, D) in fp32, or
/// null, joined with it.
struct Row {
  bool shifts;    ///< an offset, joined by a sum; a scale is joined by a product
  double number;  ///< 0 or 1 at first
  AnfNodePtr tensor;
};

struct Rows {
  Row scale{false, 1, nullptr};
  Row offset{true, 0, nullptr};
};

Shape RowShape(const AttentionSite &site) { return {1, site.kv_heads, 1, site.head_size}; }

/// The shape (1, 1|kvN, 1, 1|D) of a parameter that varies by KV head and by channel, or not at all.
std::optional<Shape> ShapeOfParameter(const AttentionSite &site, const CacheUse &use, const View &view,
                                      const Shape &shape) {
  const Roles roles = KvRoles(view, *ShapeOfMatMul(use.matmul), use.positions_last);
  const auto rows = Split(roles.rows, {site.batch, site.kv_heads, site.group});
  if (!rows || !AllRepeat((*rows)[0]) || !AllRepeat((*rows)[2]) || !AllRepeat(roles.positions)) {
    return std::nullopt;
  }
  Shape result{1, 1, 1, 1};
  Axis own;  // what the parameter itself holds
  const auto add = [&](const Axis &axis, int64_t *size) {
    if (AllRepeat(axis)) return true;
    *size = Size(axis);
    own.insert(own.end(), axis.begin(), axis.end());
    return NoneRepeats(axis);
  };
  const bool whole = add((*rows)[1], &result[1]) && add(roles.channels, &result[3]);
  return whole && IsSourceInOrder(own, shape) ? std::optional<Shape>(result) : std::nullopt;
}

/// The term's tensor as a row in fp32; null when it is not one.
AnfNodePtr RowOf(const GraphBuilder &builder, const AttentionSite &site, const CacheUse &use,
                 const DequantTerm &term) {
  std::vector<Move> moves{Broadcast(term.shape)};
  for (auto view = term.views.rbegin(); view != term.views.rend(); ++view) moves.push_back(Applied(*view));
  const AnfNodePtr row = Separated(builder, term.parameter, moves, [&](const View &view, const Shape &shape) {
    return ShapeOfParameter(site, use, view, shape);
  });
  return row == nullptr ? nullptr : builder.BroadcastTo(builder.Cast(row, kWide), RowShape(site));
}

void Join(Kind kind, double number, Row *row) {
  if (kind == Kind::kFactor) row->number *= number;
  if (kind == Kind::kDivisor) row->number /= number;
  if (kind == Kind::kSummand) row->number += number;
  if (kind == Kind::kSubtrahend) row->number -= number;
}

void Join(const GraphBuilder &builder, Kind kind, const AnfNodePtr &tensor, Row *row) {
  const Shape shape = *ShapeOf(tensor);
  const bool inverse = kind == Kind::kDivisor || kind == Kind::kSubtrahend;
  if (row->tensor == nullptr && !inverse) {
    row->tensor = tensor;
    return;
  }
  const AnfNodePtr first =
      row->tensor != nullptr ? row->tensor : builder.Filled({row->shifts ? 0.0 : 1.0}, kWide, shape);
  const char *primitive = row->shifts ? (inverse ? "Sub" : "Add") : (inverse ? "Div" : "Mul");
  row->tensor = builder.Call(primitive, {first, tensor}, kWide, shape);
}

std::variant<Rows, Refusal> RowsOf(const GraphBuilder &builder, const AttentionSite &site,
                                   const CacheUse &use, const Dequantisation &dequantisation) {
  Rows rows;
  rows.scale.number = dequantisation.scale;
  for (const DequantTerm &term : dequantisation.terms) {
    Row *row = term.shifts() ? &rows.offset : &rows.scale;
    if (const auto number = NumberOf(term.parameter)) {
      Join(term.kind, *number, row);
    } else if (const AnfNodePtr tensor = RowOf(builder, site, use, term)) {
      Join(builder, term.kind, tensor, row);
    } else {
      return Refusal{"dequantisation",
                     "a scale or offset of an int8 cache varies by more than KV head and channel, or its "
                     "sizes are known only when the graph runs"};
    }
  }
  return rows;
}

/// The row's number and tensor in one tensor.
AnfNodePtr Whole(const GraphBuilder &builder, const Shape &shape, const Row &row) {
  const AnfNodePtr number = builder.Filled({row.number}, kWide, shape);
  if (row.tensor == nullptr) return number;
  if (row.number == (row.shifts ? 0 : 1)) return row.tensor;
  return builder.Call(row.shifts ? "Add" : "Mul", {row.tensor, number}, kWide, shape);
}

AnfNodePtr BothRows(const GraphBuilder &builder, const AttentionSite &site, const Row &key,
                    const Row &value) {
  const Shape row = RowShape(site);
  const Shape both{2, site.kv_heads, 1, site.head_size};
  const Shape result = site.layout == KvLayout::kBnsd ? both : Shape{2, site.kv_heads * site.head_size};
  if (key.tensor == nullptr && value.tensor == nullptr) {
    return builder.Filled({key.number, value.number}, site.type, result);
  }
  const AnfNodePtr rows = builder.TupleOf({Whole(builder, row, key), Whole(builder, row, value)});
  const AnfNodePtr joined = builder.Call("Concat", {rows, builder.Integer(0)}, kWide, both);
  return builder.Cast(builder.Reshape(joined, result), site.type);
}

bool IsZero(const Row &offset) { return offset.number == 0 && offset.tensor == nullptr; }

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
  const bool shifted = !IsZero(key_offset) || !IsZero(value_offset);
  return Antiquantisation{BothRows(builder, site, key_scale, value_scale),
                          shifted ? BothRows(builder, site, key_offset, value_offset) : builder.None()};
}

}  // namespace ifa::passes
