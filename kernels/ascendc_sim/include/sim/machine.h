// The cores of a launch, of which one runs at a time, and what they share.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>

#include "sim/core.h"
#include "sim/launch.h"

namespace ifa::sim {

/// Cores whose set flags together wake others: when all members have set the flag once, it is set once for
/// every receiver.
struct FlagGroup {
  std::vector<int> members;
  std::vector<int> receivers;
};

class Machine {
 public:
  Machine(GlobalMemory &memory, const LaunchOptions &options);
  LaunchResult Run(const std::function<void()> &kernel);

  GlobalMemory &memory() { return memory_; }
  Core &core(int index) { return *cores_[index]; }
  const LaunchOptions &options() const { return options_; }
  LaunchResult &result() { return result_; }

  /// Bytes per cycle that a copy from or to `region` gets, on the side of global memory.
  double GlobalRate(const GlobalRegion &region, bool is_write) const;

  /// Sets and awaits flags between cores; `mode` as in CrossCoreSetFlag, kAllVector and kAll for SyncAll.
  static constexpr int kAllVector = 3;
  static constexpr int kAll = 4;
  void CrossSet(Core &core, int mode, int flag, Clock clock, const Site &site);
  void CrossWait(Core &core, int mode, int flag, const Site &site);

 private:
  struct Turn {
    enum class State { kReady, kWaiting, kDone } state = State::kReady;
    std::function<bool()> may_go;  // of a waiting core
    Site site;
    std::string what;
    std::condition_variable called;
  };
  struct CrossFlag {
    Clock clock;
    Site site;
  };
  using Queue = std::deque<CrossFlag>;

  FlagGroup GroupOf(const Core &core, int mode) const;
  void RunCore(int index, const std::function<void()> &kernel);
  void Wait(Core &core, const Site &site, const std::string &what, std::function<bool()> may_go);
  int Next(int after) const;
  void HandOver(int from);
  void Stop(std::exception_ptr error);
  void CheckFlagsLeft();
  void Collect();

  GlobalMemory &memory_;
  LaunchOptions options_;
  LaunchResult result_;
  std::vector<std::unique_ptr<Core>> cores_;
  std::map<std::tuple<int, int, int>, Queue> pending_;   // by mode, flag and member: set, the others have not
  std::map<std::tuple<int, int, int>, Queue> received_;  // by kind of group, flag and receiver: to be awaited

  std::mutex mutex_;
  std::vector<std::unique_ptr<Turn>> turns_;
  int running_ = 0;
  std::exception_ptr error_;
};

}  // namespace ifa::sim
