#include "passes/memory_order.h"

#include <algorithm>
#include <unordered_set>

#include "mindspore/core/include/ir/graph_utils.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNode;
using mindspore::CNodePtr;
using mindspore::FuncGraphPtr;

/// Whether the node is its first operand's memory under another name.
bool IsAlias(const AnfNodePtr &node) {
  return IsOp(node, "Depend") || IsOp(node, "Load") || (IsView(node) && MonadOf(node) != nullptr);
}

/// Everything that takes the memory, under any of its names, in the order of side effects, and does not just
/// read it.
std::vector<CNodePtr> WritersOf(const AnfNodePtr &operand) {
  AnfNodePtr memory = operand;
  while (IsAlias(memory) || IsView(memory)) memory = ViewSource(memory);  // a Reshape may not copy
  std::vector<AnfNodePtr> names{memory};
  std::vector<CNodePtr> writers;
  for (size_t i = 0; i < names.size(); ++i) {
    for (const CNodePtr &user : UsersOf(names[i])) {
      if (IsAlias(user) && Operand(user, 0) == names[i]) {
        names.push_back(user);
      } else if (MonadOf(user) != nullptr) {
        writers.push_back(user);
      }
    }
  }
  return writers;
}

bool IsGraphCall(const AnfNodePtr &node) { return node->isa<CNode>() && OpName(node).empty(); }

}  // namespace

const MemoryOrder::Order &MemoryOrder::OrderOf(const FuncGraphPtr &graph) {
  const auto [found, is_new] = orders_.try_emplace(graph);
  if (is_new) {
    for (const AnfNodePtr &node : mindspore::TopoSort(graph->get_return())) {
      if (IsGraphCall(node)) found->second.calls.push_back(found->second.index.size());
      found->second.index.emplace(node, found->second.index.size());
    }
  }
  return found->second;
}

bool MemoryOrder::RunsBefore(const Order &order, const AnfNodePtr &earlier, const AnfNodePtr &later) {
  const size_t first = order.index.at(earlier);
  std::unordered_set<AnfNodePtr> seen{later};
  std::vector<AnfNodePtr> open{later};
  while (!open.empty()) {
    const AnfNodePtr node = open.back();
    open.pop_back();
    for (size_t i = 0; i < OperandCount(node); ++i) {
      const AnfNodePtr input = Operand(node, i);
      const auto found = order.index.find(input);
      if (found == order.index.end() || found->second < first) continue;
      if (input == earlier) return true;
      if (seen.insert(input).second) open.push_back(input);
    }
  }
  return false;
}

bool MemoryOrder::WrittenBefore(const CNodePtr &reader, const AnfNodePtr &operand) {
  const std::vector<CNodePtr> writers = WritersOf(operand);
  if (writers.empty()) return false;
  const Order &order = OrderOf(reader->func_graph());
  const auto position = [&order](const AnfNodePtr &node) {
    const auto found = order.index.find(node);
    return found == order.index.end() ? 0 : found->second;  // what other graphs made was there before
  };
  const size_t first = position(operand);
  const size_t last = position(reader);
  return std::any_of(writers.begin(), writers.end(), [&](const CNodePtr &writer) {
    if (order.index.count(writer) != 0) {
      return position(writer) > first && position(writer) < last && RunsBefore(order, writer, reader);
    }
    // A writer in another graph can run between the two only when something is called there.
    const auto call = std::upper_bound(order.calls.begin(), order.calls.end(), first);
    return call != order.calls.end() && *call < last;
  });
}

std::optional<Refusal> MemoryOrder::Check(const AttentionSite &site) {
  std::vector<AnfNodePtr> operands{site.query, site.key, site.value};
  if (site.paging) operands.push_back(site.paging->table);
  for (const Mask &mask : site.masks) operands.push_back(mask.selector.condition);
  for (const Bias &bias : site.biases) operands.push_back(bias.tensor);
  for (const Dequantisation *dequantisation : {&site.key_dequantisation, &site.value_dequantisation}) {
    for (const AffineTerm &term : dequantisation->terms) operands.push_back(term.parameter);
  }
  if (site.output) {
    for (const AffineTerm &term : site.output->terms) operands.push_back(term.parameter);
  }
  for (const AnfNodePtr &operand : operands) {
    if (WrittenBefore(site.result(), operand)) {
      return Refusal{"side_effect",
                     "an operand of the attention is written in place before the value matmul, where the "
                     "fused operator would read it",
                     operand};
    }
  }
  return std::nullopt;
}

}  // namespace ifa::passes
