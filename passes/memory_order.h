// Whether an operand still holds its value where the fused node will read it. The fused node stands at the
// value matmul; what was read at the score matmul must not be written in between (a KV cache that is a
// Parameter, or in-place operators).
#pragma once

#include <map>
#include <unordered_map>
#include <vector>

#include "passes/attention_site.h"

namespace ifa::passes {

class MemoryOrder {
 public:
  /// @return why the site's operands may have changed at the value matmul, or nothing.
  std::optional<Refusal> Check(const AttentionSite &site);
  /// Whether the operand may be written after it got its value and before the reader runs.
  bool WrittenBefore(const mindspore::CNodePtr &reader, const mindspore::AnfNodePtr &operand);

 private:
  struct Order {
    std::unordered_map<mindspore::AnfNodePtr, size_t> index;  ///< in one topological order
    std::vector<size_t> calls;                                ///< of other function graphs, ascending
  };
  const Order &OrderOf(const mindspore::FuncGraphPtr &graph);
  /// Whether `later` depends on `earlier`, directly or not.
  static bool RunsBefore(const Order &order, const mindspore::AnfNodePtr &earlier,
                         const mindspore::AnfNodePtr &later);
  std::map<mindspore::FuncGraphPtr, Order> orders_;
};

}  // namespace ifa::passes
