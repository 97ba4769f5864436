#include "core/machine.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "core/device_memory.h"
#include "core/stage.h"

namespace diffmine {
namespace {

constexpr int64_t kSideCpu = 1024, kSideGpu = 8192, kMinSide = 256;            // of a CPU: the first tried
constexpr int64_t kCopyCpu = int64_t{256} << 20, kCopyGpu = int64_t{1} << 30;  // bytes: caches of either hold a tenth
constexpr double kSpan = 0.02;  // seconds between two looks at the clock: launches are lost in it
constexpr size_t kMinRuns = 3;

// The seconds of the second `work`: libraries load in the first.
double seconds_of(const std::function<void()>& work) {
  work();
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The median seconds of one `work`.
double median_seconds(const at::Device& device, double seconds, const Context& context,
                      const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto run = [&](int64_t times) {
    context.check_cancelled();
    const auto begin = Clock::now();
    for (int64_t i = 0; i < times; ++i) work();
    synchronize(device);
    return std::chrono::duration<double>(Clock::now() - begin).count() / static_cast<double>(times);
  };
  run(1);  // libraries load, caches and clocks warm up
  std::vector<double> runs;
  const double first = run(1);
  const int64_t times = std::clamp<int64_t>(static_cast<int64_t>(kSpan / std::max(first, 1e-9)), 1, 1000);
  if (times == 1) runs.push_back(first);
  for (const auto end = Clock::now() + std::chrono::duration<double>(seconds);
       runs.size() < kMinRuns || Clock::now() < end;) {
    runs.push_back(run(times));
  }
  std::nth_element(runs.begin(), runs.begin() + runs.size() / 2, runs.end());
  return runs[runs.size() / 2];
}

}  // namespace

MachineRates machine_rates(const at::Device& device, at::ScalarType dtype, double seconds, const Context& context) {
  const int64_t room = available_memory(device) / 4;
  const auto options = at::TensorOptions(dtype).device(device);
  MachineRates rates;
  rates.threads = at::get_num_threads();
  {
    const auto fits = [&](int64_t side) {
      return 3 * side * side * static_cast<int64_t>(c10::elementSize(dtype)) <= room;
    };
    int64_t side = device.is_cpu() ? kSideCpu : kSideGpu;
    while (side > kMinSide && !fits(side)) side /= 2;
    at::Tensor a, b, c;
    const auto multiply = [&] { at::mm_out(c, a, b); };
    for (;; side *= 2) {
      a = at::randn({side, side}, at::TensorOptions(at::kFloat).device(device)).to(dtype);
      b = at::randn({side, side}, at::TensorOptions(at::kFloat).device(device)).to(dtype);
      c = at::empty({side, side}, options);
      // Two cores are busy with the smallest for a span; for many it is too small to be fast.
      if (!device.is_cpu() || side >= kSideGpu || !fits(2 * side) || seconds_of(multiply) >= kSpan) break;
    }
    const double cube = static_cast<double>(side) * static_cast<double>(side) * static_cast<double>(side);
    rates.matmul = 2 * cube / median_seconds(device, seconds, context, multiply);
  }
  {
    const int64_t bytes = std::min(device.is_cpu() ? kCopyCpu : kCopyGpu, std::max<int64_t>(room / 2, 1 << 20));
    const auto from = at::arange(bytes / 4, at::TensorOptions(at::kFloat).device(device));
    auto to = at::empty_like(from);
    rates.copy =
        2 * static_cast<double>(from.nbytes()) / median_seconds(device, seconds, context, [&] { to.copy_(from); });
  }
  return rates;
}

}  // namespace diffmine
