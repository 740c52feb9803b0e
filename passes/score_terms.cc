#include "passes/score_terms.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "passes/separated.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::TypeId;

using Built = std::variant<AnfNodePtr, Refusal>;

/// The tensor, or one above its views, in the shape (1|B, 1|N, 1, S); nothing when that works for none.
/// @param moves what stands between the tensor and the scores.
std::optional<SeparatedTensor> RowsOf(const AttentionSite &site, const AnfNodePtr &tensor,
                                      std::vector<Move> moves) {
  return Separated(tensor, std::move(moves), [&site](const View &view, const Shape &shape) {
    const auto separated = ShapeByRowAndPosition(site, view, shape);
    return separated && separated->back() == site.kv_length ? separated : std::nullopt;
  });
}

/// The condition of a mask that is the same for all heads, (1|B, 1, 1, S).
std::variant<SeparatedTensor, Refusal> MaskRowsOf(const AttentionSite &site, const Mask &mask) {
  const AnfNodePtr &condition = mask.selector.condition;
  const auto rows = RowsOf(site, condition, MovesOf(mask));
  if (rows && rows->shape[1] == 1) return *rows;
  const bool is_dynamic = Size(mask.score_shape) == kDynamic || Size(*ShapeOf(condition)) == kDynamic;
  if (!rows && is_dynamic) return UnknownSizes("a mask", condition);
  return Refusal{"mask_heads", "the mask differs by head, the operator's only by batch and position",
                 condition};
}

/// True where positions are hidden, (1|B, 1, 1, S).
Built BuildMask(const GraphBuilder &builder, const AttentionSite &site, const Mask &mask) {
  const auto rows = MaskRowsOf(site, mask);
  if (const auto *refusal = std::get_if<Refusal>(&rows)) return *refusal;
  const auto &[condition, shape] = std::get<SeparatedTensor>(rows);
  const AnfNodePtr hidden = builder.Reshape(condition, shape);
  return mask.hidden_when ? hidden : builder.Call("LogicalNot", {hidden}, mindspore::kNumberTypeBool, shape);
}

/// The bias, scaled, in its own type or fp32: (1|B, 1|N, 1, S).
Built BuildBias(const GraphBuilder &builder, const AttentionSite &site, const Bias &bias) {
  if (site.strict && TypeOf(bias.tensor) == mindspore::kNumberTypeFloat32 &&
      site.type != mindspore::kNumberTypeFloat32) {
    return Refusal{"strict_mask",
                   "a bias in fp32 on a cache in half precision could lose a row in which every position is "
                   "masked (strict=True)",
                   bias.tensor};
  }
  const auto rows = RowsOf(site, bias.tensor, {Broadcast(bias.score_shape)});
  if (!rows && Size(bias.score_shape) == kDynamic) return UnknownSizes("a bias", bias.tensor);
  const Shape all{site.batch, site.query_heads(), 1, site.kv_length};
  const AnfNodePtr tensor = rows ? builder.Reshape(rows->tensor, rows->shape)
                                 : builder.Reshape(builder.BroadcastTo(bias.tensor, bias.score_shape), all);
  return builder.Scale(builder.Widened(tensor), bias.factor);
}

/// The mask, (1|B, 1, 1, S), for each sequence of the query, (B, ...). Of unknown numbers one may be 1.
AnfNodePtr ForEachSequence(const GraphBuilder &builder, const AnfNodePtr &mask, const AnfNodePtr &query) {
  Shape shape = *ShapeOf(mask);
  shape[0] = (*ShapeOf(query))[0];
  if (shape[0] == kDynamic) return builder.RepeatedForEach(query, mask);
  return builder.BroadcastTo(mask, shape);
}

/// Joins two tensors of shape (1|B, ...) by an operation that broadcasts.
AnfNodePtr Joined(const GraphBuilder &builder, const std::string &operation, const AnfNodePtr &a,
                  const AnfNodePtr &b) {
  if (a == nullptr) return b;
  Shape shape = *ShapeOf(a);
  if (shape[0] == 1) shape[0] = (*ShapeOf(b))[0];
  const TypeId type = TypeOf(a) == TypeOf(b) ? TypeOf(a) : mindspore::kNumberTypeFloat32;
  return builder.Call(operation, {builder.Cast(a, type), builder.Cast(b, type)}, type, shape);
}

/// Builds once per graph what several sites need.
template <typename Build>
Built Shared(SharedTensors *shared, const AttentionSite &site, const AnfNodePtr &from, std::string what,
             const Build &build) {
  for (const int64_t size : {site.batch, site.query_heads(), site.kv_length})
    what += "," + std::to_string(size);
  const auto key = std::make_tuple(site.value_matmul->func_graph(), from, what);
  if (const auto found = shared->find(key); found != shared->end()) return found->second;
  Built built = build();
  if (const auto *node = std::get_if<AnfNodePtr>(&built)) (*shared)[key] = *node;
  return built;
}

Built BuildMasks(const GraphBuilder &builder, const AttentionSite &site, const AnfNodePtr &query,
                 SharedTensors *shared) {
  AnfNodePtr hidden;
  for (const Mask &mask : site.masks) {
    if (mask.prefix) continue;
    const auto &views = mask.selector.views;
    const AnfNodePtr from = views.empty() ? mask.selector.condition : AnfNodePtr(views.back());
    const Built built = Shared(shared, site, from, mask.hidden_when ? "mask" : "inverted mask",
                               [&] { return BuildMask(builder, site, mask); });
    if (std::holds_alternative<Refusal>(built)) return built;
    hidden = Joined(builder, "LogicalOr", hidden, std::get<AnfNodePtr>(built));
  }
  return hidden == nullptr ? builder.None() : ForEachSequence(builder, hidden, query);
}

Built BuildBiases(const GraphBuilder &builder, const AttentionSite &site, SharedTensors *shared) {
  AnfNodePtr sum;
  for (const Bias &bias : site.biases) {
    std::ostringstream what;
    what << "bias * " << std::hexfloat << bias.factor;
    const Built built = Shared(shared, site, bias.tensor, what.str(), [&]() -> Built {
      const Built rows = BuildBias(builder, site, bias);
      if (std::holds_alternative<Refusal>(rows)) return rows;
      const AnfNodePtr node = std::get<AnfNodePtr>(rows);
      Shape shape = *ShapeOf(node);
      shape[1] = site.query_heads();
      return builder.BroadcastTo(node, shape);
    });
    if (std::holds_alternative<Refusal>(built)) return built;
    sum = Joined(builder, "Add", sum, std::get<AnfNodePtr>(built));
  }
  if (sum == nullptr) return builder.None();
  return Shared(shared, site, sum, "bias as " + std::to_string(site.type),
                [&]() -> Built { return builder.CastFinite(sum, site.type); });
}

}  // namespace

void KeepAsBiases(AttentionSite *site) {
  const auto keep = [site](const Mask &mask) {
    return !mask.additive || mask.prefix || std::holds_alternative<SeparatedTensor>(MaskRowsOf(*site, mask));
  };
  const auto kept = std::stable_partition(site->masks.begin(), site->masks.end(), keep);
  for (auto mask = kept; mask != site->masks.end(); ++mask) site->biases.push_back(*mask->additive);
  site->masks.erase(kept, site->masks.end());
}

std::vector<Move> MovesOf(const Mask &mask) {
  std::vector<Move> moves{Broadcast(mask.selector.shape)};
  for (const auto &operation : mask.selector.views) moves.push_back(Applied(operation));
  moves.push_back(Broadcast(mask.score_shape));
  return moves;
}

std::optional<Shape> ShapeByRowAndPosition(const AttentionSite &site, const View &view, const Shape &shape) {
  const Axis positions = view.axes().back();
  View rows = view.WithoutLastAxis();
  if (!rows.Reshape({site.batch, site.query_heads()})) return std::nullopt;
  const Axis &batch = rows.axes()[0];
  const Axis &heads = rows.axes()[1];
  Axis own;  // what the tensor itself holds
  for (const Axis *axis : {&batch, &heads, &positions}) {
    if (!AllRepeat(*axis) && !NoneRepeats(*axis)) return std::nullopt;
    if (NoneRepeats(*axis)) own.insert(own.end(), axis->begin(), axis->end());
  }
  if (!IsSourceInOrder(own, shape)) return std::nullopt;
  return Shape{AllRepeat(batch) ? 1 : site.batch, AllRepeat(heads) ? 1 : site.query_heads(), 1,
               AllRepeat(positions) ? 1 : site.kv_length};
}

Refusal UnknownSizes(const std::string &what, const AnfNodePtr &tensor) {
  return {"dynamic_shape",
          what +
              " can't be brought into the operator's shape: too many of the sizes are known only when "
              "the graph runs",
          tensor};
}

std::variant<ScoreTerms, Refusal> BuildScoreTerms(const GraphBuilder &builder, const AttentionSite &site,
                                                  const AnfNodePtr &query, SharedTensors *shared) {
  const Built mask = BuildMasks(builder, site, query, shared);
  if (const auto *refusal = std::get_if<Refusal>(&mask)) return *refusal;
  const Built bias = BuildBiases(builder, site, shared);
  if (const auto *refusal = std::get_if<Refusal>(&bias)) return *refusal;
  return ScoreTerms{std::get<AnfNodePtr>(mask), std::get<AnfNodePtr>(bias)};
}

}  // namespace ifa::passes
