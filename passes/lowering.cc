#include "passes/lowering.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "passes/antiquantisation.h"
#include "passes/graph_builder.h"
#include "passes/output_quantisation.h"
#include "passes/paged_cache.h"
#include "passes/prefix_mask.h"
#include "passes/separated.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;

struct OperatorShapes {
  Shape query;
  Shape key_value;
};

OperatorShapes ShapesOf(const AttentionSite &site) {
  const int64_t outer = site.paging ? site.paging->block_count : site.batch;
  const int64_t positions = site.paging ? site.paging->block_size : site.kv_length;
  if (site.layout == KvLayout::kBnsd) {
    return {{site.batch, site.query_heads(), 1, site.head_size},
            {outer, site.kv_heads, positions, site.head_size}};
  }
  return {{site.batch, 1, site.query_heads() * site.head_size},
          {outer, positions, site.kv_heads * site.head_size}};
}

/// Of a key or value, before it is transposed where that is needed.
Shape StoredShape(Shape shape, bool transposed) {
  if (transposed) std::swap(shape[2], shape[3]);
  return shape;
}

/// A key or value as the operator takes it.
AnfNodePtr BuildCache(const GraphBuilder &builder, const AnfNodePtr &source, bool transposed,
                      const Shape &shape, Target target) {
  const AnfNodePtr stored = builder.Reshape(source, StoredShape(shape, transposed));
  const AnfNodePtr cache = transposed ? builder.Transpose(stored, {0, 1, 3, 2}) : stored;
  return target == Target::kAscendC ? cache : builder.TupleOf({cache});
}

AnfNodePtr CallOperator(const GraphBuilder &builder, const AttentionSite &site, const AnfNodePtr &query,
                        const ScoreTerms &terms, const BlockTable &blocks, const AnfNodePtr &lengths,
                        Target target) {
  const OperatorShapes shapes = ShapesOf(site);
  const AnfNodePtr key = BuildCache(builder, site.key, site.key_transposed, shapes.key_value, target);
  const AnfNodePtr value = BuildCache(builder, site.value, site.value_transposed, shapes.key_value, target);
  const Antiquantisation antiquantisation = BuildAntiquantisation(builder, site);
  const OutputScale output = BuildOutputScale(builder, site);
  const AnfNodePtr none = builder.None();
  // In the order of kernels/ascendc/mindspore/decode_operator.h.
  return builder.Call(FusedOperator(target),
                      {query,
                       key,
                       value,
                       terms.mask,
                       lengths != nullptr ? lengths : blocks.lengths,
                       terms.bias,
                       none,
                       none,
                       none,
                       output.scale,
                       output.offset,
                       antiquantisation.scale,
                       antiquantisation.offset,
                       blocks.table,
                       none,
                       builder.Integer(site.query_heads()),
                       builder.Integer(site.layout == KvLayout::kBnsd ? 1 : 0),
                       builder.Number(static_cast<float>(site.scale)),
                       builder.Integer(site.kv_heads),
                       builder.Integer(site.paging ? site.paging->block_size : 0),
                       builder.Integer(1)},
                      site.output ? mindspore::kNumberTypeInt8 : site.type, shapes.query);
}

}  // namespace

std::variant<AnfNodePtr, Refusal> Lower(const AttentionSite &site, Target target, SharedTensors *shared) {
  if (auto refusal = CheckLimits(site, target)) return *refusal;
  const GraphBuilder builder(site.value_matmul, target);
  const OperatorShapes shapes = ShapesOf(site);
  const Shape result_shape = *ShapeOf(site.result());
  if (!CanReshape(site.query, shapes.query)) return UnknownSizes("the query", site.query);
  const Shape stored_key = StoredShape(shapes.key_value, site.key_transposed);
  const Shape stored_value = StoredShape(shapes.key_value, site.value_transposed);
  if (!CanReshape(site.key, stored_key)) return UnknownSizes("the key", site.key);
  if (!CanReshape(site.value, stored_value)) return UnknownSizes("the value", site.value);
  if (result_shape != shapes.query && std::count(result_shape.begin(), result_shape.end(), kDynamic) > 1) {
    return UnknownSizes("the result", site.result());
  }
  const AnfNodePtr query = builder.Reshape(builder.Cast(site.query, site.type), shapes.query);
  const auto terms = BuildScoreTerms(builder, site, query, shared);
  if (const auto *refusal = std::get_if<Refusal>(&terms)) return *refusal;
  const AnfNodePtr attention =
      CallOperator(builder, site, query, std::get<ScoreTerms>(terms), BuildBlockTable(builder, site, shared),
                   BuildLengths(builder, site, shared), target);
  const AnfNodePtr result = builder.Reshape(builder.Cast(attention, TypeOf(site.result())), result_shape);
  site.value_matmul->func_graph()->manager()->Replace(site.result(), result);
  DropUnusedViews(site.passed);
  DropUnusedViews(site.softmax_nodes);
  return result;
}

}  // namespace ifa::passes
