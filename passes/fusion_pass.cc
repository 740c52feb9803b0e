#include "passes/fusion_pass.h"

#include <utility>
#include <vector>

#include "mindspore/core/include/ir/graph_utils.h"
#include "passes/lowering.h"
#include "passes/matcher.h"
#include "passes/memory_order.h"
#include "passes/options.h"
#include "passes/prefix_mask.h"
#include "passes/report.h"
#include "passes/score_terms.h"
#include "passes/softmax.h"
#include "passes/subgraph.h"
#include "passes/target.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;
using mindspore::FuncGraphPtr;

std::vector<CNodePtr> SoftmaxRootsOf(const FuncGraphPtr &root) {
  std::vector<CNodePtr> softmaxes;
  for (const FuncGraphPtr &graph : root->manager()->func_graphs()) {
    for (const auto &node : mindspore::TopoSort(graph->get_return())) {
      if (node->func_graph() == graph && IsSoftmaxRoot(node)) softmaxes.push_back(node->cast<CNodePtr>());
    }
  }
  return softmaxes;
}

std::string SizeText(int64_t size) { return size == kDynamic ? "?" : std::to_string(size); }

/// How a mask is written, and what the operator gets of it.
std::string MaskText(const Mask &mask) {
  return std::string("mask: ") + (mask.additive ? "additive" : "selecting") +
         (mask.prefix ? " -> lengths" : " -> bool");
}

std::vector<std::string> FeaturesOf(const AttentionSite &site) {
  const std::string kind = site.group == 1 ? "MHA " : site.kv_heads == 1 ? "MQA " : "GQA ";
  std::vector<std::string> features{
      kind + std::to_string(site.query_heads()) + "/" + std::to_string(site.kv_heads),
      std::string(site.layout == KvLayout::kBnsd ? "BNSD" : "BSH") + " " +
          mindspore::TypeIdToString(site.type, true),
      "length " + SizeText(site.kv_length), "head size " + std::to_string(site.head_size)};
  if (site.paging) features.push_back("paged " + std::to_string(site.paging->block_size));
  if (site.quantised()) features.emplace_back("int8 cache");
  if (site.output) features.emplace_back("int8 output");
  for (const Mask &mask : site.masks) features.push_back(MaskText(mask));
  if (!site.biases.empty()) features.emplace_back("bias");
  if (site.key_transposed) features.emplace_back("key transposed");
  if (site.value_transposed) features.emplace_back("value transposed");
  return features;
}

/// What the sites of one run share.
struct Run {
  bool strict = false;
  Target target = Target::kCpu;
  MemoryOrder order;
  SharedTensors shared;
  SourceLines lines;
  SubgraphRecorder recorder;
};

SiteReport ReportOf(const CNodePtr &softmax, Run *run) {
  SiteReport report;
  report.location = run->lines.Of(softmax);
  report.graph = softmax->func_graph()->ToString();
  return report;
}

/// Rewrites a site that nothing speaks against so far.
std::variant<AnfNodePtr, Refusal> Rewrite(const Match &match, Run *run) {
  if (match.refusal) return *match.refusal;
  if (auto refusal = run->order.Check(match.site)) return *refusal;
  return Lower(match.site, run->target, &run->shared);
}

/// @return whether the site was rewritten.
bool TrySite(const CNodePtr &softmax, Run *run) {
  auto match = MatchAttention(softmax, run->strict, &run->order);
  if (!match) return false;
  if (!match->refusal) {
    FindPrefixes(&match->site, &run->order);
    KeepAsBiases(&match->site);
  }
  SiteReport report = ReportOf(softmax, run);
  if (!match->refusal) report.features = FeaturesOf(match->site);
  Subgraph before = run->recorder.Before(*match);
  const auto rewritten = Rewrite(*match, run);
  const auto *refusal = std::get_if<Refusal>(&rewritten);
  report.fused = refusal == nullptr;
  report.reason = refusal ? refusal->reason : "fused";
  report.message =
      refusal ? refusal->message : std::string("rewritten into one ") + FusedOperator(run->target);
  if (refusal == nullptr) {
    report.after = run->recorder.After(match->site, std::get<AnfNodePtr>(rewritten)).nodes;
  } else if (const auto cause = before.index.find(refusal->node); cause != before.index.end()) {
    report.refused_at = cause->second;
  }
  report.before = std::move(before.nodes);
  const bool fused = report.fused;
  Report::Instance().Add(std::move(report));
  return fused;
}

}  // namespace

bool FuseDecodeAttention(const FuncGraphPtr &root) {
  const Options &options = Options::Instance();
  if (!options.enabled || root == nullptr || root->manager() == nullptr) return false;
  Run run;
  run.strict = options.strict;
  run.target = CurrentTarget();
  bool changed = false;
  for (const CNodePtr &softmax : SoftmaxRootsOf(root)) {
    changed = TrySite(softmax, &run) || changed;
  }
  return changed;
}

}  // namespace ifa::passes
