#include "core/compute_thread.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/cpu_allocator.h"

namespace diffmine {

void ComputeThread::start(std::shared_ptr<void> owner, std::function<void(const std::shared_ptr<Job>&)> done,
                          std::function<void()> end) {
  thread_ =
      std::thread([this, owner = std::move(owner), done = std::move(done), end = std::move(end)] { loop(done, end); });
}

bool ComputeThread::submit(const std::shared_ptr<Job>& job) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    waiting_.push_back(job);
  }
  wake_.notify_one();
  return true;
}

bool ComputeThread::withdraw(const Job& job) {
  const std::lock_guard lock(mutex_);
  const auto place =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& other) { return other.get() == &job; });
  if (place == waiting_.end()) return false;
  waiting_.erase(place);
  return true;
}

std::deque<std::shared_ptr<Job>> ComputeThread::close() {
  std::deque<std::shared_ptr<Job>> dropped;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    dropped.swap(waiting_);
    if (running_) running_->cancel();
  }
  wake_.notify_one();
  return dropped;
}

void ComputeThread::join() {
  if (thread_.joinable()) thread_.join();
}

void ComputeThread::loop(const std::function<void(const std::shared_ptr<Job>&)>& done,
                         const std::function<void()>& end) noexcept {
  // OpenMP's thread count belongs to the thread that opens the parallel region. ATen sets it at its first use on a
  // thread, from whatever another engine chose last: let it do so first.
  at::internal::lazy_init_num_threads();
  at::set_num_threads(options_.threads);
  std::optional<CpuCachingAllocator> allocator;
  if (options_.own_cpu_cache) allocator.emplace();

  std::unique_lock lock(mutex_);
  for (;;) {
    const auto wanted = [this] { return closed_ || !waiting_.empty(); };
    if (!allocator) wake_.wait(lock, wanted);
    bool trimmed = false;                                   // once is enough until the next job
    while (!wake_.wait_for(lock, options_.idle, wanted)) {  // idle: memory unused for that time goes back to the system
      lock.unlock();
      CpuCachingAllocator::release(std::chrono::steady_clock::now() -
                                   std::chrono::duration_cast<std::chrono::steady_clock::duration>(options_.idle));
      if (!std::exchange(trimmed, true)) CpuCachingAllocator::trim();
      lock.lock();
    }
    if (closed_) break;
    running_ = std::move(waiting_.front());
    waiting_.pop_front();
    const auto job = running_;
    lock.unlock();
    {
      const CpuCachingAllocator::Bypass bypass(options_.bypass_cpu_cache);
      job->execute();
    }
    done(job);
    lock.lock();
    running_.reset();
  }
  lock.unlock();
  end();  // what it frees still goes to the cache, which then goes back to the system as a whole
}

}  // namespace diffmine
