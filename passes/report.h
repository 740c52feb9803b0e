// What the pass saw: one entry a softmax that looked like attention, fused or refused. Collected over the
// whole process until it is taken; knows nothing of MindSpore.
#pragma once

#include <mutex>
#include <string>
#include <vector>

namespace ifa::passes {

struct SiteReport {
  bool fused = false;
  std::string reason;    ///< stable code; "fused" or why not
  std::string message;   ///< one sentence
  std::string location;  ///< "file.py:line" of the user's code, "" when unknown
  std::string graph;     ///< the function graph that holds the site
  std::vector<std::string> features;
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
