#include "passes/report.h"

#include <utility>

#include "nlohmann/json.hpp"

namespace ifa::passes {

Report &Report::Instance() {
  static Report report;
  return report;
}

void Report::Add(SiteReport site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  sites_.push_back(std::move(site));
}

std::string Report::TakeJson() {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto list = nlohmann::json::array();
  for (const SiteReport &site : sites_) {
    list.push_back({{"fused", site.fused},
                    {"reason", site.reason},
                    {"message", site.message},
                    {"location", site.location},
                    {"graph", site.graph},
                    {"features", site.features}});
  }
  sites_.clear();
  // A path that is not UTF-8 must not cost the report.
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ifa::passes
