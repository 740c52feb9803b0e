#include "passes/lowering.h"

#include <algorithm>
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

AnfNodePtr CallOperator(const GraphBuilder &builder, const AttentionSite &site, const ScoreTerms &terms,
                        const BlockTable &blocks, const AnfNodePtr &lengths) {
  const OperatorShapes shapes = ShapesOf(site);
  const AnfNodePtr query = builder.Reshape(builder.Cast(site.query, site.type), shapes.query);
  const AnfNodePtr key = builder.TupleOf({builder.Reshape(site.key, shapes.key_value)});
  const AnfNodePtr value = builder.TupleOf({builder.Reshape(site.value, shapes.key_value)});
  const Antiquantisation antiquantisation = BuildAntiquantisation(builder, site);
  const OutputScale output = BuildOutputScale(builder, site);
  const AnfNodePtr none = builder.None();
  // The primitive's order: query, key, value, attn_mask, actual_seq_lengths, pse_shift, dequant_scale1,
  // quant_scale1, dequant_scale2, quant_scale2, quant_offset2, antiquant_scale, antiquant_offset,
  // block_table, kv_padding_size, num_heads, input_layout (BSH 0, BNSD 1), scale_value, num_key_value_heads,
  // block_size, inner_precise.
  return builder.Call("IncreFlashAttention",
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
  if (!CanReshape(site.key, shapes.key_value)) return UnknownSizes("the key", site.key);
  if (!CanReshape(site.value, shapes.key_value)) return UnknownSizes("the value", site.value);
  if (result_shape != shapes.query && std::count(result_shape.begin(), result_shape.end(), kDynamic) > 1) {
    return UnknownSizes("the result", site.result());
  }
  const auto terms = BuildScoreTerms(builder, site, shared);
  if (const auto *refusal = std::get_if<Refusal>(&terms)) return *refusal;
  const AnfNodePtr attention =
      CallOperator(builder, site, std::get<ScoreTerms>(terms), BuildBlockTable(builder, site, shared),
                   BuildLengths(builder, site, shared));
  const AnfNodePtr result = builder.Reshape(builder.Cast(attention, TypeOf(site.result())), result_shape);
  site.value_matmul->func_graph()->manager()->Replace(site.result(), result);
  DropUnusedViews(site.passed);
  DropUnusedViews(site.softmax_nodes);
  return result;
}

}  // namespace ifa::passes
