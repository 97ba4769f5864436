// Memory that is kept and handed out again.
#include "core/host_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <c10/core/CPUAllocator.h>
#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "core/levers.h"

using namespace diffmine;

namespace {

// As they were before, for the tests that follow.
struct Installed {
  c10::Allocator* const before = c10::GetCPUAllocator();
  Installed() { use_host_cache(); }
  ~Installed() {
    empty_host_cache();
    c10::SetCPUAllocator(before);
  }
};

at::Tensor megabytes(int64_t n) { return at::empty({n << 18}, at::kFloat); }

}  // namespace

TEST_CASE("host cache: a freed block is handed out again, to the sizes it serves") {
  const at::Tensor older = megabytes(8);  // of LibTorch's own allocator, freed when the cache is in place
  const Installed cache;
  const int64_t used = host_cache_size().used;
  auto first = megabytes(8);
  const void* const place = first.data_ptr();
  CHECK(host_cache_size().used == used + (8 << 20));
  first.reset();
  CHECK(host_cache_size().used == used);
  CHECK(host_cache_size().kept == 8 << 20);
  const auto again = megabytes(8);
  CHECK(again.data_ptr() == place);
  CHECK(host_cache_size().kept == 0);
  const auto small = at::empty({100}, at::kFloat);
  CHECK(host_cache_size().used == used + (8 << 20));
  empty_host_cache();
  CHECK(host_cache_size().kept == 0);
}

TEST_CASE("host cache: no more than a quarter above what was used at once is held") {
  const Installed cache;
  for (const int64_t size : {16, 20, 24, 28, 32, 36}) {  // none serves another
    const int64_t most = (int64_t{size} << 20) * 5 / 4;
    {
      const auto alive = megabytes(size);
      const auto [used, kept] = host_cache_size();
      CHECK(used + kept <= most);
    }
    const auto [used, kept] = host_cache_size();
    CHECK(used + kept <= most);
    CHECK(kept >= int64_t{size} << 20);  // the last freed stays
  }
}

TEST_CASE("host cache: a thread that leaves it out allocates as before") {
  const Installed cache;
  const int64_t used = host_cache_size().used;
  {
    const WithoutLever without(Lever::kHostCache);
    const auto x = megabytes(4);
    CHECK(host_cache_size().used == used);
  }
  const auto y = megabytes(4);
  CHECK(host_cache_size().used == used + (4 << 20));
}

TEST_CASE("host cache: threads share it, and oneDNN's own memory comes of it") {
  const Installed cache;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto x = at::full({(1 + (i + t) % 5) << 18}, t * 100 + i, at::kFloat), y = x + 1;
        wrong[static_cast<size_t>(t)] += static_cast<int>((y - 1 - x).abs().max().item<float>() != 0 || x[-1].item<float>() != static_cast<float>(t * 100 + i));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
  const auto x = at::randn({2, 64, 96, 96}), w = at::randn({64, 64, 3, 3});
  const auto once = at::conv2d(x, w, {}, 1, 1);
  for (int i = 0; i < 3; ++i) CHECK(at::conv2d(x, w, {}, 1, 1).equal(once));
}
