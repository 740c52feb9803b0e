// Threads and processes: concurrent callers, fork(), thread counts.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "problem.h"
#include "thread_pool.h"

namespace ifa::cpu::test {
namespace {

ProblemSpec LargeEnoughForThreads(uint64_t seed) {
  ProblemSpec spec;
  spec.dtype = DataType::kFloat16;
  spec.kv_heads = 2;
  spec.group = 2;
  spec.kv_length = 6000;
  spec.seed = seed;
  return spec;
}

std::string Run(Problem *problem, const std::vector<double> &reference, int threads) {
  ExecutionOptions options;
  options.threads = threads;
  DecodeAttention(problem->Args(), options);
  return problem->Compare(reference);
}

// "" when `succeeds` says true in a child of fork() within 30 seconds.
std::string InChild(const std::function<bool()> &succeeds) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(succeeds() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : "the child failed or hung";
}

std::string RunInChild(Problem *problem, const std::vector<double> &reference) {
  return InChild([&] { return Run(problem, reference, 3).empty() && Run(problem, reference, 2).empty(); });
}

void ForkBeforeAndAfterUse() {
  Problem problem(LargeEnoughForThreads(1));
  const std::vector<double> reference = problem.Reference();
  Report("fork before use", RunInChild(&problem, reference));
  Report("use after fork", Run(&problem, reference, 3));
  Report("fork after use", RunInChild(&problem, reference));
  Report("parent after the child", Run(&problem, reference, 3));
}

// "" when `threads` different participants come to one job. Each waits for the others, so that none can take
// two places.
std::string Gather(int threads) {
  std::vector<std::atomic<int>> times(static_cast<size_t>(threads));
  std::atomic<int> present{0};
  std::atomic<bool> unknown{false};
  ThreadPool::Instance().Run(threads, [&](int participant) {
    if (participant < 0 || participant >= threads) {
      unknown = true;
    } else {
      ++times[static_cast<size_t>(participant)];
    }
    ++present;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (present < threads && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  if (unknown) {
    return "a participant has a number that there is not";
  }
  for (int i = 0; i < threads; ++i) {
    if (times[static_cast<size_t>(i)] != 1) {
      return "participant " + std::to_string(i) + " came " + std::to_string(times[static_cast<size_t>(i)]) +
             " times";
    }
  }
  return "";
}

void EveryParticipantComesOnce() {
  for (const int threads : {2, 3, 5}) {
    Report("participants of " + std::to_string(threads), Gather(threads));
  }
}

// A child that kept its parent's pool would wait for helpers that the fork left behind.
void ChildHasHelpersOfItsOwn() {
  Report("helpers of a child", InChild([] { return Gather(3).empty(); }));
}

auto ThreadsOfProcess() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
}

// In a child, which has no helpers yet.
void SmallCallStartsNoThreads() {
  ProblemSpec spec = LargeEnoughForThreads(1);
  Problem large(spec);
  spec.kv_length = 600;  // 300 KiB of K and V
  Problem small(spec);
  ExecutionOptions options;
  options.threads = 4;
  const std::string failure = InChild([&] {
    DecodeAttention(small.Args(), options);
    const auto after_small = ThreadsOfProcess();
    DecodeAttention(large.Args(), options);
    return after_small == 1 && ThreadsOfProcess() > 1;
  });
  Report("threads of a small call", failure);
}

void ForkWhileOthersCall() {
  Problem problem(LargeEnoughForThreads(2));
  const std::vector<double> reference = problem.Reference();
  std::atomic<bool> stop{false};
  std::thread caller([&stop] {
    Problem own(LargeEnoughForThreads(3));
    while (!stop) {
      ExecutionOptions options;
      options.threads = 3;
      DecodeAttention(own.Args(), options);
    }
  });
  for (int i = 0; i < 10; ++i) {
    Report("fork while another thread calls", RunInChild(&problem, reference));
  }
  stop = true;
  caller.join();
}

void ConcurrentCallers() {
  std::vector<std::thread> callers;
  for (uint64_t c = 0; c < 6; ++c) {
    callers.emplace_back([c] {
      Problem problem(LargeEnoughForThreads(10 + c));
      const std::vector<double> reference = problem.Reference();
      for (int i = 0; i < 40; ++i) {
        Report("concurrent caller " + std::to_string(c),
               Run(&problem, reference, 1 + (i + static_cast<int>(c)) % 4));
      }
    });
  }
  for (std::thread &caller : callers) {
    caller.join();
  }
}

int64_t ResidentBytes() {
  int64_t total = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// From a new thread for each problem, every tenth call refused.
void CallOften(std::vector<Problem> *problems, int calls) {
  std::vector<std::thread> callers;
  for (Problem &problem : *problems) {
    DecodeAttentionArgs args = problem.Args();
    const int threads = static_cast<int>(callers.size()) + 1;
    callers.emplace_back([args, threads, calls]() mutable {
      ExecutionOptions options;
      options.threads = threads;
      for (int i = 0; i < calls; ++i) {
        args.batch = i % 10 == 0 ? -1 : 1;
        try {
          DecodeAttention(args, options);
        } catch (const std::invalid_argument &) {
          // What was asked for.
        }
      }
    });
  }
  for (std::thread &caller : callers) {
    caller.join();
  }
}

void MemoryStaysOverTenThousandCalls() {
  std::vector<Problem> problems;
  std::vector<std::vector<double>> references;
  for (uint64_t seed = 20; seed < 24; ++seed) {
    problems.emplace_back(LargeEnoughForThreads(seed));
    references.push_back(problems.back().Reference());
  }
  CallOften(&problems, 250);
  const int64_t before = ResidentBytes();
  CallOften(&problems, 2500);
  // 800 bytes kept of each call; a partial result alone has as many.
  const int64_t grown = ResidentBytes() - before;
  Report("memory of 10,000 calls", grown < (8 << 20) ? "" : std::to_string(grown) + " bytes were kept");
  for (size_t i = 0; i < problems.size(); ++i) {
    Report("last of many calls", problems[i].Compare(references[i]));
  }
}

void ThreadCountIsWhatWasSet() {
  const int usual = ThreadCount();
  SetThreadCount(3);
  Report("SetThreadCount(3)", ThreadCount() == 3 ? "" : "ThreadCount() is " + std::to_string(ThreadCount()));
  SetThreadCount(0);
  Report("SetThreadCount(0)",
         ThreadCount() == usual ? "" : "ThreadCount() is " + std::to_string(ThreadCount()));
}

}  // namespace

void TestProcess() {
  ForkBeforeAndAfterUse();
  EveryParticipantComesOnce();
  ChildHasHelpersOfItsOwn();
  SmallCallStartsNoThreads();
  ForkWhileOthersCall();
  ConcurrentCallers();
  MemoryStaysOverTenThousandCalls();
  ThreadCountIsWhatWasSet();
}

}  // namespace ifa::cpu::test
