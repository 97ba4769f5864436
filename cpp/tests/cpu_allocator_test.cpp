// Memory that is cached and handed out again.
#include "core/cpu_allocator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <c10/core/CPUAllocator.h>
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cstring>
#include <thread>
#include <vector>

using namespace diffmine;

namespace {

using Clock = std::chrono::steady_clock;

// LibTorch's own allocator is back for the tests that follow.
struct Installed {
  c10::Allocator* const before = c10::GetCPUAllocator();
  CpuCachingAllocator allocator;
  ~Installed() { c10::SetCPUAllocator(before); }
};

at::Tensor megabytes(int64_t n) { return at::empty({n << 18}, at::kFloat); }

int64_t used() { return CpuCachingAllocator::size().used; }
int64_t cached() { return CpuCachingAllocator::size().cached; }

}  // namespace

TEST_CASE("cpu allocator: a freed block is handed out again, to the sizes it serves") {
  at::Tensor older = megabytes(8);  // of LibTorch's own allocator, freed when the cache is in place
  const Installed cache;
  older.reset();
  const int64_t before = used();
  auto first = megabytes(8);
  const void* const place = first.data_ptr();
  CHECK(used() == before + (8 << 20));
  first.reset();
  CHECK(used() == before);
  CHECK(cached() == 8 << 20);
  const auto again = megabytes(8);
  CHECK(again.data_ptr() == place);
  CHECK(cached() == 0);
  const auto small = at::empty({100}, at::kFloat);
  CHECK(used() == before + (8 << 20));
  CpuCachingAllocator::empty();
  CHECK(cached() == 0);
}

TEST_CASE("cpu allocator: no more than a quarter above what was used at once is held") {
  const Installed cache;
  for (const int64_t size : {16, 20, 24, 28, 32, 36}) {  // none serves another
    const int64_t max = (int64_t{size} << 20) * 5 / 4;
    {
      const auto alive = megabytes(size);
      CHECK(used() + cached() <= max);
    }
    CHECK(used() + cached() <= max);
    CHECK(cached() >= int64_t{size} << 20);  // the last freed stays
  }
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)  // which has a malloc of its own
TEST_CASE("cpu allocator: small blocks cost no page faults the second time, until the cache is emptied") {
  const Installed cache;
  const auto faults = [](int64_t blocks) {
    rusage before{}, after{};
    getrusage(RUSAGE_THREAD, &before);
    std::vector<at::Tensor> kept;
    for (int64_t i = 0; i < blocks; ++i) kept.push_back(at::full({250'000}, 1, at::kChar));  // below 1 MiB
    getrusage(RUSAGE_THREAD, &after);
    return after.ru_minflt - before.ru_minflt;
  };
  CpuCachingAllocator::empty();
  const auto first = faults(100);
  CHECK(first > 1000);  // 25 MB in pages of 4 KB are 6,100; larger pages are fewer
  CHECK(faults(100) < first / 10);
  CpuCachingAllocator::empty();
  CHECK(faults(100) > first / 2);
}
#endif

TEST_CASE("cpu allocator: a bypass holds for every thread, ends with its scope, and nests") {
  const Installed cache;
  const int64_t before = used();
  {
    const CpuCachingAllocator::Bypass bypass, nested, none(false);
    at::Tensor here = megabytes(4), there;
    std::thread([&] { there = megabytes(4); }).join();
    CHECK(used() == before);
    CHECK(there.numel() == here.numel());
  }
  const auto y = megabytes(4);
  CHECK(used() == before + (4 << 20));
}

TEST_CASE("cpu allocator: what has lain since a moment goes back to the system, what was freed later stays") {
  const Installed cache;
  auto early = megabytes(16), late = megabytes(4);
  early.reset();
  const auto moment = Clock::now();
  while (Clock::now() == moment) {}
  late.reset();
  CHECK(cached() == 20 << 20);
  CpuCachingAllocator::release(moment);
  CHECK(cached() == 4 << 20);
  CpuCachingAllocator::release(Clock::now());
  CHECK(cached() == 0);
}

TEST_CASE("cpu allocator: nothing is cached once its last user is gone") {
  c10::Allocator* const before = c10::GetCPUAllocator();
  at::Tensor outlives;
  {
    const CpuCachingAllocator one;
    {
      const CpuCachingAllocator other;
      outlives = megabytes(8);
      megabytes(4).reset();
    }
    CHECK(cached() >= 4 << 20);
  }
  CHECK(cached() == 0);
  outlives.reset();
  CHECK(cached() == 0);
  c10::SetCPUAllocator(before);
}

// As oneDNN does, whose frees do not know how large the memory was.
TEST_CASE("cpu allocator: raw memory of any size and age is freed") {
  c10::Allocator* const plain = c10::GetCPUAllocator();
  void* const old_small = plain->raw_allocate(64);
  void* const old_large = plain->raw_allocate(2 << 20);
  const Installed cache;
  c10::Allocator* const allocator = c10::GetCPUAllocator();
  CHECK(allocator != plain);
  allocator->raw_deallocate(old_small);
  allocator->raw_deallocate(old_large);
  const int64_t before = used();
  void* const small = allocator->raw_allocate(100);
  void* const large = allocator->raw_allocate(3 << 20);
  std::memset(small, 1, 100);
  std::memset(large, 1, 3 << 20);
  CHECK(used() == before + (3 << 20));
  allocator->raw_deallocate(small);
  allocator->raw_deallocate(large);
  CHECK(used() == before);
  CHECK(cached() == 3 << 20);
}

TEST_CASE("cpu allocator: threads share it, and oneDNN's own memory comes of it") {
  const Installed cache;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto x = at::full({(1 + (i + t) % 5) << 18}, t * 100 + i, at::kFloat), y = x + 1;
        wrong[static_cast<size_t>(t)] += static_cast<int>((y - 1 - x).abs().max().item<float>() != 0 ||
                                                          x[-1].item<float>() != static_cast<float>(t * 100 + i));
        if (i % 10 == 0) CpuCachingAllocator::release(Clock::now());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
  const auto x = at::randn({2, 64, 96, 96}), w = at::randn({64, 64, 3, 3});
  const auto once = at::conv2d(x, w, {}, 1, 1);
  for (int i = 0; i < 3; ++i) CHECK(at::conv2d(x, w, {}, 1, 1).equal(once));
}
