// Runs a kernel, and says what was counted and how long it would take.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "sim/costs.h"
#include "sim/global_memory.h"

namespace ifa::sim {

/// The cores that one block of a launch has.
enum class KernelType { kAivOnly, kAicOnly, kMixAiv1_0, kMixAic1_0, kMixAic1_1, kMixAic1_2 };

struct LaunchOptions {
  KernelType type = KernelType::kMixAiv1_0;
  uint32_t blocks = 1;
  uint64_t tiling_key = 0;
  uint32_t hbm_readers = 0;  ///< cores that share the bandwidth of the HBM; 0 means all blocks
  bool trace = false;
  Costs costs;
};

struct TraceEntry {
  std::string core;
  std::string pipe;
  const char *name;
  double start;  ///< cycles
  double end;
};

struct PipeTime {
  std::string core;
  std::string pipe;
  double busy;  ///< cycles
  uint64_t instructions;
};

struct TensorTraffic {
  std::string name;
  uint64_t bytes_read;
  uint64_t bytes_written;
};

struct LaunchResult {
  double cycles = 0;  ///< of the slowest core
  double seconds = 0;
  std::vector<PipeTime> pipes;
  std::vector<TensorTraffic> tensors;
  std::map<std::string, uint64_t> repeats;  ///< of each vector and cube instruction
  std::map<std::string, uint64_t> bytes;    ///< of each pipe and direction, for example "MTE2 global to L1"
  std::map<std::string, uint64_t> flags;    ///< set, and barriers
  std::vector<TraceEntry> trace;
};

/// Runs `kernel` once per core, one core at a time, in an order that is always the same. Throws a Finding
/// when the kernel breaks a rule.
LaunchResult Launch(GlobalMemory &memory, const LaunchOptions &options, const std::function<void()> &kernel);

}  // namespace ifa::sim
