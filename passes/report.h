// What the pass saw: one entry a softmax that looked like attention, fused or refused. Collected over the
// whole process until it is taken; knows nothing of MindSpore.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ifa::passes {

/// A node of a site, to be looked at.
struct SiteNode {
  std::string op;                             ///< the operator, or "Parameter", "Constant", "Call"
  std::optional<std::vector<int64_t>> shape;  ///< -1 where a size is unknown; nothing for what is no tensor
  std::string type;                           ///< of the elements, "" for what is no tensor
  std::string role;                           ///< "query", "score matmul", "scale", "inserted", ...
  std::vector<std::pair<std::string, size_t>> inputs;  ///< the operand's name, "" when unknown, and its node
  std::vector<std::string> attributes;                 ///< operands that are constants, "name=value"
};

struct SiteReport {
  bool fused = false;
  std::string reason;    ///< stable code; "fused" or why not
  std::string message;   ///< one sentence
  std::string location;  ///< "file.py:line" of the user's code, "" when unknown
  std::string graph;     ///< the function graph that holds the site
  std::vector<std::string> features;
  std::vector<SiteNode> before;      ///< inputs before what uses them
  std::vector<SiteNode> after;       ///< the same; empty when not fused
  std::optional<size_t> refused_at;  ///< of `before`, the node that is the reason where it is one
};

/// Thread safe: graphs may be compiled by several threads at once.
class Report {
 public:
  static Report &Instance();

  void Add(SiteReport site);
  /// @return a JSON list of the sites since the last call.
  std::string TakeJson();

 private:
  std::mutex mutex_;
  std::vector<SiteReport> sites_;
};

}  // namespace ifa::passes
