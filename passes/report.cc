#include "passes/report.h"

#include <utility>

#include "nlohmann/json.hpp"

namespace ifa::passes {
namespace {

template <typename T>
nlohmann::json OrNull(const std::optional<T> &value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

nlohmann::json JsonOf(const std::vector<SiteNode> &nodes) {
  auto list = nlohmann::json::array();
  for (const SiteNode &node : nodes) {
    auto inputs = nlohmann::json::array();
    for (const auto &[name, input] : node.inputs) inputs.push_back({{"name", name}, {"node", input}});
    list.push_back({{"id", list.size()},
                    {"operator", node.op},
                    {"shape", OrNull(node.shape)},
                    {"dtype", node.type},
                    {"role", node.role},
                    {"inputs", inputs},
                    {"attributes", node.attributes}});
  }
  return list;
}

}  // namespace

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
                    {"features", site.features},
                    {"before", JsonOf(site.before)},
                    {"after", JsonOf(site.after)},
                    {"refused_at", OrNull(site.refused_at)}});
  }
  sites_.clear();
  // A path that is not UTF-8 must not cost the report.
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ifa::passes
