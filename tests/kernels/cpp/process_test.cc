// Threads and processes: concurrent callers, fork(), thread counts.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
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

// "" when a child of fork() gets the right result within 20 seconds.
std::string RunInChild(Problem *problem, const std::vector<double> &reference) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(Run(problem, reference, 3).empty() && Run(problem, reference, 2).empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : "the child failed or hung";
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
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(Gather(3).empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  Report("helpers of a child",
         WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : "the child has no helpers or hung");
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
  ForkWhileOthersCall();
  ConcurrentCallers();
  ThreadCountIsWhatWasSet();
}

}  // namespace ifa::cpu::test
