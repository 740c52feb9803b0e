// Threads that help the caller of a job. They start when first needed, sleep between jobs, are shared by all
// callers and end with the process.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace ifa::cpu {

class ThreadPool {
 public:
  /// The pool of this process. A child of fork() gets its own, as threads do not survive a fork. It is never
  /// destroyed: its sleeping threads must not meet a destroyed lock while the process exits.
  static ThreadPool &Instance();

  /// Runs `work(participant)` in the calling thread, as participant 0, and in up to `threads - 1` others, and
  /// returns when all have returned. Helpers that come too late, or could not be started, are not waited for:
  /// `work` must divide what there is to do by itself. It must not throw.
  void Run(int threads, const std::function<void(int participant)> &work);

 private:
  struct Job {
    const std::function<void(int)> *work;
    int wanted;   // helpers that may still join
    int joined;   // helpers that did, which numbers them
    int working;  // of those, the ones that have not returned
  };

  void StartHelpers(int helpers);
  void Help();

  std::mutex mutex_;
  std::condition_variable job_added_;
  std::condition_variable job_left_;
  std::deque<Job *> jobs_;  // with wanted > 0
  int helpers_ = 0;
};

}  // namespace ifa::cpu
