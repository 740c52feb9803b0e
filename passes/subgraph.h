// The nodes of a site for people to look at, as they were before the rewrite and as they are after it, each
// with the part that it plays. Reads what the matcher found; decides nothing.
#pragma once

#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "passes/matcher.h"
#include "passes/report.h"

namespace ifa::passes {

struct Subgraph {
  std::vector<SiteNode> nodes;
  std::unordered_map<mindspore::AnfNodePtr, size_t> index;  ///< of a node of the graph in `nodes`
};

/// Of the sites of one run, in time linear in the nodes of each.
class SubgraphRecorder {
 public:
  /// From query, key, value, masks and biases to the output. Of a site that is refused, what was walked over
  /// until then, with the node that is the cause and what uses it.
  Subgraph Before(const Match &match) const;

  /// The nodes that lowering made for the site, and those that they take.
  /// @param result what stands now where the site's result stood.
  Subgraph After(const AttentionSite &site, const mindspore::AnfNodePtr &result);

 private:
  /// Of the nodes that lowering made, also for earlier sites, with which masks and biases are shared.
  std::unordered_set<std::shared_ptr<mindspore::NodeDebugInfo>> made_;
};

}  // namespace ifa::passes
