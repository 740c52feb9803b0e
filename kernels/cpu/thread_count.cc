// How many threads a call may use.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "decode_attention.h"

namespace ifa::cpu {
namespace {

std::atomic<int> chosen_threads{0};

// "4", or one number for each nesting level as in "4,2"; 0 when it says nothing usable.
int ThreadsFromEnvironment() {
  const char *text = std::getenv("OMP_NUM_THREADS");
  return text == nullptr ? 0 : static_cast<int>(std::clamp(std::strtol(text, nullptr, 10), 0L, 4096L));
}

// Those of the main thread: the calling one may have been pinned to a single CPU by its framework.
int CpusOfProcess() {
  cpu_set_t cpus;
  if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) != 0) {
    return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
  }
  return std::max(1, CPU_COUNT(&cpus));
}

}  // namespace

int ThreadCount() {
  if (const int chosen = chosen_threads.load(std::memory_order_relaxed); chosen > 0) {
    return chosen;
  }
  static const int from_environment = ThreadsFromEnvironment();
  return from_environment > 0 ? from_environment : CpusOfProcess();
}

void SetThreadCount(int threads) { chosen_threads.store(std::max(0, threads), std::memory_order_relaxed); }

}  // namespace ifa::cpu
