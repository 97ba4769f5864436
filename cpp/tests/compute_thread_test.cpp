// The thread that computes for an engine: order, withdrawal, cancellation, and its end.
#include "core/compute_thread.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "core/cpu_allocator.h"

namespace diffmine {
namespace {

class Recorded : public Job {
 public:
  explicit Recorded(std::function<void(Recorded&)> work) : work_(std::move(work)) {}
  void execute() noexcept override { work_(*this); }
  void cancel() noexcept override { cancelled = true; }
  std::atomic<bool> cancelled{false};

 private:
  const std::function<void(Recorded&)> work_;
};

// A thread, and what it said.
struct Worker {
  ComputeThread thread;
  std::vector<Job*> done;  // compute thread, read after join
  std::atomic<int> ends{0};

  explicit Worker(const ComputeThreadOptions& options = {}) : thread(options) {
    thread.start(
        nullptr, [this](const std::shared_ptr<Job>& job) { done.push_back(job.get()); }, [this] { ++ends; });
  }
  ~Worker() {
    thread.close();
    thread.join();
  }
  template <class F>
  std::shared_ptr<Recorded> add(F work) {
    const auto job = std::make_shared<Recorded>(work);
    REQUIRE(thread.submit(job));
    return job;
  }
};

}  // namespace

TEST_CASE("compute thread: jobs run one by one in the order of their submission, those withdrawn never") {
  Worker worker({.threads = 3});
  std::promise<void> begun, go;
  std::vector<int> order;
  std::vector<Job*> expected;
  expected.push_back(worker
                         .add([&](Recorded&) {
                           order.push_back(at::get_num_threads());
                           begun.set_value();
                           go.get_future().wait();
                         })
                         .get());
  begun.get_future().wait();
  std::promise<void> last;
  std::shared_ptr<Recorded> withdrawn;
  for (int i = 0; i < 5; ++i) {
    const auto job = worker.add([&, i](Recorded&) {
      order.push_back(i);
      if (i == 4) last.set_value();
    });
    if (i == 2) withdrawn = job;
    else expected.push_back(job.get());
  }
  CHECK(worker.thread.withdraw(*withdrawn));
  CHECK_FALSE(worker.thread.withdraw(*withdrawn));
  CHECK_FALSE(worker.thread.withdraw(*static_cast<Recorded*>(expected.front())));  // it runs
  go.set_value();
  last.get_future().wait();
  CHECK(worker.thread.close().empty());
  worker.thread.join();
  CHECK(order == std::vector<int>{3, 0, 1, 3, 4});
  CHECK(worker.done == expected);
  CHECK(worker.ends == 1);
}

TEST_CASE("compute thread: closing cancels what runs, returns what waits, and takes nothing more") {
  Worker worker;
  std::promise<void> begun;
  const auto running = worker.add([&](Recorded& job) {
    begun.set_value();
    while (!job.cancelled) std::this_thread::yield();
  });
  begun.get_future().wait();
  const auto waiting = worker.add([](Recorded&) { FAIL("a job ran after close"); });
  const auto dropped = worker.thread.close();
  REQUIRE(dropped.size() == 1);
  CHECK(dropped.front() == waiting);
  CHECK(worker.thread.close().empty());
  CHECK_FALSE(worker.thread.submit(waiting));
  worker.thread.join();
  CHECK(running->cancelled);
  CHECK_FALSE(waiting->cancelled);
  CHECK(worker.done == std::vector<Job*>{running.get()});
  CHECK(worker.ends == 1);
}

TEST_CASE("compute thread: an idle thread releases the memory it has cached, a busy one keeps it") {
  struct Restored {  // LibTorch's own allocator is back for the tests that follow
    c10::Allocator* const before = c10::GetCPUAllocator();
    ~Restored() { c10::SetCPUAllocator(before); }
  } const restored;
  const auto cached = [] { return CpuCachingAllocator::size().cached; };
  constexpr int64_t kFloats = 8 << 20;
  const auto make = [&] { static_cast<void>(at::empty({kFloats})); };
  {
    Worker worker({.own_cpu_cache = true, .idle = std::chrono::hours(1)});
    std::promise<int64_t> kept;
    worker.add([&](Recorded&) {
      make();
      kept.set_value(cached());
    });
    CHECK(kept.get_future().get() >= kFloats * 4);
  }
  {
    Worker worker({.own_cpu_cache = true, .idle = std::chrono::milliseconds(1)});
    std::promise<void> made;
    worker.add([&](Recorded&) {
      make();
      made.set_value();
    });
    made.get_future().wait();
    while (cached() > 0) std::this_thread::yield();  // hangs where nothing is released
  }
  {
    Worker worker({.own_cpu_cache = true, .bypass_cpu_cache = true, .idle = std::chrono::hours(1)});
    std::promise<int64_t> kept;
    worker.add([&](Recorded&) {
      make();
      kept.set_value(cached());
    });
    CHECK(kept.get_future().get() == 0);
  }
}

}  // namespace diffmine
