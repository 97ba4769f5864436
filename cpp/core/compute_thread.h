// The thread that computes for an engine: runs jobs first in, first out, and releases cached memory while it has
// none.
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace diffmine {

class Job {
 public:
  virtual ~Job() = default;
  virtual void execute() noexcept = 0;  // compute thread
  virtual void cancel() noexcept = 0;   // any thread: execute shall return soon
};

struct ComputeThreadOptions {
  int threads = 1;                         // OpenMP's
  bool own_cpu_cache = false;              // hold a CpuCachingAllocator, and release its unused memory when idle
  bool bypass_cpu_cache = false;           // jobs use malloc
  std::chrono::duration<double> idle{10};  // seconds for which an idle thread's cache keeps unused memory
};

class ComputeThread {
 public:
  explicit ComputeThread(const ComputeThreadOptions& options) : options_(options) {}

  // Once. `done` runs on the thread after each job, `end` at last, when it is closed; `owner` is kept alive by the
  // thread.
  void start(std::shared_ptr<void> owner, std::function<void(const std::shared_ptr<Job>&)> done,
             std::function<void()> end);
  bool submit(const std::shared_ptr<Job>& job);  // false once closed
  bool withdraw(const Job& job);                 // true: it was still waiting and will not run
  // Cancels the running job and returns those that will not run. The thread then ends. Later calls return nothing.
  std::deque<std::shared_ptr<Job>> close();
  void join();  // after close; does nothing if there is no thread

 private:
  void loop(const std::function<void(const std::shared_ptr<Job>&)>& done, const std::function<void()>& end) noexcept;
  const ComputeThreadOptions options_;
  std::thread thread_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::shared_ptr<Job> running_;
  bool closed_ = false;
};

}  // namespace diffmine
