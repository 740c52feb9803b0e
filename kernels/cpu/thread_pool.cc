#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

namespace ifa::cpu {
namespace {

std::atomic<ThreadPool *> instance{nullptr};

// A thread inherits the CPUs of the one that started it, which may be pinned to a single one; a helper is to
// run on any CPU of the process.
void UseCpusOfProcess() {
  cpu_set_t cpus;
  if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0) {
    sched_setaffinity(0, sizeof(cpus), &cpus);
  }
}

}  // namespace

ThreadPool &ThreadPool::Instance() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { instance.store(nullptr, std::memory_order_relaxed); });
  static_cast<void>(registered);
  ThreadPool *pool = instance.load(std::memory_order_acquire);
  if (pool == nullptr) {
    auto *fresh = new ThreadPool;
    if (instance.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel)) {
      return *fresh;
    }
    delete fresh;
  }
  return *pool;
}

void ThreadPool::Run(int threads, const std::function<void(int)> &work) {
  Job job{&work, threads - 1, 0, 0};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    StartHelpers(job.wanted);
    jobs_.push_back(&job);
  }
  for (int helper = 1; helper < threads; ++helper) {
    job_added_.notify_one();
  }
  work(0);
  std::unique_lock<std::mutex> lock(mutex_);
  jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
  job_left_.wait(lock, [&job] { return job.working == 0; });
}

void ThreadPool::StartHelpers(int helpers) {
  try {
    for (; helpers_ < helpers; ++helpers_) {
      std::thread([this] { Help(); }).detach();
    }
  } catch (const std::system_error &) {
    // The process may not have more threads; those that it has do the work.
  }
}

void ThreadPool::Help() {
  UseCpusOfProcess();
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    job_added_.wait(lock, [this] { return !jobs_.empty(); });
    Job *job = jobs_.front();
    const int participant = ++job->joined;
    ++job->working;
    if (--job->wanted == 0) {
      jobs_.pop_front();
    }
    lock.unlock();
    (*job->work)(participant);
    lock.lock();
    if (--job->working == 0) {
      job_left_.notify_all();
    }
  }
}

}  // namespace ifa::cpu
