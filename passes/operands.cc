#include "passes/operands.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "passes/antiquantisation.h"
#include "passes/paged_cache.h"
#include "passes/roles.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

using Steps = std::vector<Step>;

/// The node above, where an operand can be followed upwards: through the steps and views.
AnfNodePtr Above(const AnfNodePtr &node, const AnfNodePtr &below, const Steps &steps, Walk *walk) {
  for (const Step step : steps) {
    const Outcome outcome = step(node, walk);
    if (const auto *taken = std::get_if<AnfNodePtr>(&outcome)) return *taken;
  }
  return ViewedBy(node, below);
}

/// Whether a tensor still holds its value where the operator will read it.
using Holds = std::function<bool(const AnfNodePtr &tensor)>;

bool AllHold(const std::vector<AffineTerm> &terms, const Holds &holds) {
  return std::all_of(terms.begin(), terms.end(),
                     [&](const AffineTerm &term) { return holds(term.parameter); });
}

/// The operand of a matmul, and everything above it that it can be taken from: what nothing but scalars was
/// applied to, and int8 caches. The nearest comes first.
/// @param passed gets the nodes in between.
std::vector<Source> SourcesOf(const AnfNodePtr &operand, const Steps &steps, const Holds &holds,
                              std::vector<AnfNodePtr> *passed) {
  std::vector<Source> sources{{operand, View(*ShapeOf(operand)), 1.0, TypeOf(operand), {}}};
  Walk walk;
  walk.widest = TypeOf(operand);
  AnfNodePtr below;
  AnfNodePtr node = operand;
  while (const AnfNodePtr above = Above(node, below, steps, &walk)) {
    if (IsView(node)) walk.views.push_back(node);
    const auto source_shape = ShapeOf(above);
    if (!source_shape) break;
    View view(*source_shape);
    const bool described = std::all_of(walk.views.rbegin(), walk.views.rend(),
                                       [&](const AnfNodePtr &op) { return ApplyView(op, &view); });
    if (!described) break;
    // Between a view and its Load stands nothing that could be given to the operator.
    const auto type = IsInt8(above) ? walk.widest : TypeOf(above);
    const bool usable = !IsOp(node, "Load") && (walk.terms.empty() || IsInt8(above));
    if (usable && holds(above) && AllHold(walk.terms, holds))
      sources.push_back({above, view, walk.scale, type, walk.terms});
    passed->push_back(node);
    below = node;
    node = above;
  }
  return sources;
}

/// What a key or value source amounts to, given to the operator.
struct KvShape {
  KvLayout layout;
  int64_t batch;
  int64_t heads;
  int64_t group;
  int64_t length;
  int64_t channels;
  std::optional<Paging> paging;

  bool Agrees(const KvShape &other) const {
    return layout == other.layout && batch == other.batch && heads == other.heads && group == other.group &&
           length == other.length && paging == other.paging;
  }
};

struct KvCandidate {
  const Source *source;
  AnfNodePtr node;  ///< the source, or the blocks that it is gathered from
  KvShape shape;
  bool transposed = false;  ///< channels lie before positions
};

Roles QueryRoles(const View &view, bool transposed) {
  std::vector<Axis> axes = view.axes();
  Axis channels = axes[axes.size() - (transposed ? 2 : 1)];
  axes.erase(axes.end() - (transposed ? 2 : 1));
  return {Concatenated(axes), {}, channels};
}

/// Splits rows into (batch, KV head, group), the only order in which query head n reads KV head n / group.
/// @param sequences how many there are; kDynamic where that is not known, then they are the source's first
/// axis.
/// @return nothing when a repeat stands before a factor that selects.
struct RowSplit {
  Axis batch;
  Axis heads;
  int64_t group = 1;
};
std::optional<RowSplit> SplitRows(const Axis &rows, int64_t sequences) {
  RowSplit split;
  size_t i = 0;
  while (i < rows.size() && rows[i].source_axis == 0) split.batch.push_back(rows[i++]);
  while (i < rows.size() && !rows[i].repeats()) split.heads.push_back(rows[i++]);
  const Axis pairs = Concatenated({split.batch, split.heads});
  if (const auto parts = Split(pairs, {sequences, kDynamic})) {
    split.batch = parts->front();
    split.heads = parts->back();
  }
  if (i < rows.size()) split.group = rows[i++].size;
  return i == rows.size() && split.group != kDynamic ? std::optional<RowSplit>(split) : std::nullopt;
}

/// All ways in which the operator can read the source as it lies in memory, or transposed; the best comes
/// last.
/// @param sequences how many there are, or kDynamic.
std::vector<KvCandidate> KvCandidates(const Source &source, const MatMulShape &matmul, bool positions_last,
                                      int64_t sequences) {
  const Roles roles = KvRoles(source.view, matmul, positions_last);
  const auto shape = ShapeOf(source.node);
  const auto rows = SplitRows(roles.rows, sequences);
  std::vector<KvCandidate> candidates;
  if (!rows || !shape || !IsFloat(source.type)) return candidates;
  const CacheUse use{matmul, positions_last, Size(rows->batch), Size(rows->heads), rows->group};
  if (IsInt8(source.node) && !CanFold({source.scale, source.terms}, use)) return candidates;
  const KvAxes axes{rows->batch, rows->heads, roles.positions, roles.channels};
  const auto add = [&](const AnfNodePtr &node, KvLayout layout, const std::optional<Paging> &paging,
                       bool transposed = false) {
    candidates.push_back(
        {&source,
         node,
         {layout, use.batch, use.kv_heads, use.group, Size(axes.positions), Size(axes.channels), paging},
         transposed});
  };
  if (IsSourceInOrder(Concatenated({axes.batch, axes.heads, axes.channels, axes.positions}), *shape)) {
    add(source.node, KvLayout::kBnsd, std::nullopt, true);
  }
  constexpr KvLayout kLayouts[] = {KvLayout::kBsh, KvLayout::kBnsd};
  for (const KvLayout layout : kLayouts) {
    if (IsSourceInOrder(InMemory(axes, layout), *shape)) add(source.node, layout, std::nullopt);
  }
  for (const KvLayout layout : kLayouts) {
    if (const auto paged = PagedCacheOf(source.node, axes, layout)) add(paged->blocks, layout, paged->paging);
  }
  return candidates;
}

/// Whether the view repeats KV heads so that query head n does not read KV head n / group: a repeat that
/// stands before heads, and that is not the batch's own axis.
bool RepeatsHeadsInWrongOrder(const View &view) {
  std::vector<Axis> axes = view.axes();
  axes.resize(axes.size() - 2);
  if (axes.size() > 1) axes.erase(axes.begin());
  bool repeated = false;
  for (const Factor &factor : Concatenated(axes)) {
    if (repeated && !factor.repeats()) return true;
    repeated = repeated || factor.repeats();
  }
  return false;
}

bool Transposes(const AnfNodePtr &node) { return OpName(node).rfind("Transpose", 0) == 0; }

/// Whether several rows of the query's matrices are provably heads of one position, not several positions:
/// they come from the axis that holds heads or channels at the query's own source.
/// @param passed the nodes between the source and the matmul.
bool RowsAreHeads(const Source &source, const std::vector<AnfNodePtr> &passed, bool transposed) {
  const std::vector<Axis> &axes = source.view.axes();
  const Axis &rows = axes[axes.size() - (transposed ? 1 : 2)];
  const Axis &channels = axes[axes.size() - (transposed ? 2 : 1)];
  std::vector<int> head_axes;
  for (const Factor &factor : channels) head_axes.push_back(factor.source_axis);
  if (axes.size() > 2) {
    for (const Factor &factor : axes[axes.size() - 3]) head_axes.push_back(factor.source_axis);
  }
  // (B, N, 1, D) only reshaped. Positions of (B, positions, 1, D), a single head, are transposed to the end.
  const Shape shape = *ShapeOf(source.node);
  if (shape.size() == 4 && shape[2] == 1 && std::none_of(passed.begin(), passed.end(), Transposes)) {
    head_axes.push_back(1);
  }
  return std::all_of(rows.begin(), rows.end(), [&](const Factor &factor) {
    return std::find(head_axes.begin(), head_axes.end(), factor.source_axis) != head_axes.end();
  });
}

/// The farthest source of the query that is the query reshaped, of the wanted type where there is one.
const Source *ChooseQuery(const std::vector<Source> &sources, bool transposed, mindspore::TypeId type) {
  const Source *chosen = nullptr;
  for (const Source &source : sources) {
    const Roles roles = QueryRoles(source.view, transposed);
    const bool in_order = IsSourceInOrder(Concatenated({roles.rows, roles.channels}), *ShapeOf(source.node));
    const bool better = chosen == nullptr || TypeOf(source.node) == type || TypeOf(chosen->node) != type;
    if (in_order && better) chosen = &source;
  }
  return chosen;
}

struct Choice {
  const KvCandidate *key = nullptr;
  const KvCandidate *value = nullptr;
  const Source *query = nullptr;
  mindspore::TypeId type = mindspore::kTypeUnknown;  ///< in which the operator runs
};

/// The farthest pair of key and value that agree, of int8 or with a query of their type if possible.
Choice Choose(const std::vector<KvCandidate> &keys, const std::vector<KvCandidate> &values,
              const std::vector<Source> &queries, bool transposed) {
  Choice any;
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    for (auto value = values.rbegin(); value != values.rend(); ++value) {
      if (!key->shape.Agrees(value->shape) || TypeOf(key->source->node) != TypeOf(value->source->node))
        continue;
      const auto type = Wider(key->source->type, value->source->type);
      const Source *query = ChooseQuery(queries, transposed, type);
      if (query == nullptr) continue;
      const Choice choice{&*key, &*value, query, type};
      if (IsInt8(key->source->node) || TypeOf(query->node) == type) return choice;
      if (any.key == nullptr) any = choice;
    }
  }
  return any;
}

/// How many sequences there are: the first size of scores of four axes and more, where a mask or bias meets
/// them; kDynamic when that shows nowhere.
int64_t SequencesOf(const AttentionSite &site) {
  std::vector<Shape> scores;
  for (const Mask &mask : site.masks) scores.push_back(mask.score_shape);
  for (const Bias &bias : site.biases) scores.push_back(bias.score_shape);
  const auto found =
      std::find_if(scores.begin(), scores.end(), [](const Shape &shape) { return shape.size() >= 4; });
  return found == scores.end() ? kDynamic : found->front();
}

std::vector<KvCandidate> AllKvCandidates(const std::vector<Source> &sources, const MatMulShape &matmul,
                                         bool positions_last, int64_t sequences) {
  std::vector<KvCandidate> all;
  for (const Source &source : sources) {
    const auto candidates = KvCandidates(source, matmul, positions_last, sequences);
    all.insert(all.end(), candidates.begin(), candidates.end());
  }
  return all;
}

Refusal NoCommonLayout(const std::vector<KvCandidate> &keys, const std::vector<KvCandidate> &values,
                       const std::vector<Source> &key_sources, const std::vector<Source> &value_sources) {
  if (keys.empty() || values.empty()) {
    const Source &source = (keys.empty() ? key_sources : value_sources).back();
    return {"kv_layout",
            std::string(keys.empty() ? "the key" : "the value") +
                " is not laid out as the operator reads it, (batch, KV head, position, channel) or (batch, "
                "position, KV head x channel); its rows are " +
                ToString(Concatenated(source.view.axes())),
            source.node};
  }
  return {"kv_mismatch", "key and value disagree in batch, KV heads, length, layout or type"};
}

}  // namespace

std::optional<Refusal> ResolveOperands(const MatMul &score, const MatMul &value, MemoryOrder *order,
                                       AttentionSite *site) {
  const auto score_shape = ShapeOfMatMul(score);
  const auto value_shape = ShapeOfMatMul(value);
  if (!score_shape || !value_shape) {
    return Refusal{"matmul_shape",
                   "the matmuls' shapes are not known, or keys or values outnumber the queries",
                   score_shape ? site->value_matmul : site->score_matmul};
  }
  if (score_shape->rows == kDynamic) {
    return Refusal{"query_length", "the query length is not provably 1: it is known only when the graph runs",
                   score.lhs};
  }

  const Steps kv_steps{TakeCast, TakeScale, TakeDequantisation};
  const Holds holds = [&](const AnfNodePtr &node) { return !order->WrittenBefore(site->result(), node); };
  const auto queries = SourcesOf(score.lhs, {TakeCast, TakeScale}, holds, &site->passed);
  const bool rows_are_heads = RowsAreHeads(queries.back(), site->passed, score.transpose_lhs);
  const auto keys = SourcesOf(score.rhs, kv_steps, holds, &site->passed);
  auto values = SourcesOf(value.rhs, kv_steps, holds, &site->passed);
  values.erase(std::remove_if(values.begin(), values.end(),
                              [](const Source &source) { return source.scale != 1 && !IsInt8(source.node); }),
               values.end());
  if (score_shape->rows != 1 && !rows_are_heads) {
    return Refusal{"query_length",
                   "the query length is not provably 1: the query has " + std::to_string(score_shape->rows) +
                       " rows that can't be shown to be heads of one position",
                   score.lhs};
  }
  if (RepeatsHeadsInWrongOrder(keys.back().view) || RepeatsHeadsInWrongOrder(values.back().view)) {
    return Refusal{"head_order",
                   "KV heads are repeated in another order than query head n reading KV head n / group",
                   RepeatsHeadsInWrongOrder(keys.back().view) ? score.rhs : value.rhs};
  }

  const int64_t sequences = SequencesOf(*site);
  const auto key_candidates = AllKvCandidates(keys, *score_shape, !score.transpose_rhs, sequences);
  const auto value_candidates = AllKvCandidates(values, *value_shape, value.transpose_rhs, sequences);
  const Choice choice = Choose(key_candidates, value_candidates, queries, score.transpose_lhs);
  if (choice.key == nullptr) return NoCommonLayout(key_candidates, value_candidates, keys, values);
  if (choice.key->shape.channels != choice.value->shape.channels) {
    return Refusal{"head_size",
                   "key and value have different head sizes, " + std::to_string(choice.key->shape.channels) +
                       " and " + std::to_string(choice.value->shape.channels),
                   value.rhs};
  }

  const KvShape &shape = choice.key->shape;
  site->query = choice.query->node;
  site->key = choice.key->node;
  site->value = choice.value->node;
  site->key_transposed = choice.key->transposed;
  site->value_transposed = choice.value->transposed;
  site->type = choice.type;
  site->scale *= choice.query->scale * choice.key->source->scale;
  site->key_dequantisation.terms = choice.key->source->terms;
  site->value_dequantisation = {choice.value->source->scale, choice.value->source->terms};
  site->layout = shape.layout;
  site->paging = shape.paging;
  site->batch = shape.batch;
  site->kv_heads = shape.heads;
  site->group = shape.group;
  site->kv_length = shape.length;
  site->head_size = shape.channels;
  if (site->kv_heads == kDynamic || site->head_size == kDynamic) {
    return Refusal{"dynamic_heads",
                   "the number of KV heads or the head size is known only when the graph runs", site->key};
  }
  return std::nullopt;
}

}  // namespace ifa::passes
