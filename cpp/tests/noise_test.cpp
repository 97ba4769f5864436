// Noise by position, and the timesteps of the samples.
#include "diffusion/noise.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/support.h"

using namespace diffmine;
using namespace diffmine::test;

namespace {
const at::Device kCpu(at::kCPU);

// Chi-square of counts against equal shares.
double chi_square(const std::vector<int64_t>& counts) {
  double total = 0, sum = 0;
  for (const int64_t n : counts) total += static_cast<double>(n);
  const double expected = total / static_cast<double>(counts.size());
  for (const int64_t n : counts)
    sum += (static_cast<double>(n) - expected) * (static_cast<double>(n) - expected) / expected;
  return sum;
}

// 60 bins of ten timesteps over [100, 700).
std::vector<int64_t> histogram(const std::vector<int64_t>& timesteps) {
  std::vector<int64_t> counts(60, 0);
  for (const int64_t t : timesteps) ++counts.at(static_cast<size_t>((t - 100) / 10));
  return counts;
}
constexpr double kCritical = 107;  // chi-square of 59 degrees of freedom exceeds it once in 10^4
}  // namespace

TEST_CASE("draw_noise: the known normal numbers, at their places") {
  const at::Tensor z = draw_noise(42, 0, 8, {1, 2, 4}, Stream::kScan, kCpu);
  CHECK(z.sizes() == at::IntArrayRef{8, 1, 2, 4});
  const float first[] = {-0.970190f, 0.194019f, -1.235620f, 1.923927f},
              eighth[] = {1.065151f, -0.817525f, -0.658450f, 1.132866f};
  for (int i = 0; i < 4; ++i) {
    CHECK(std::abs(z.const_data_ptr<float>()[i] - first[i]) <= 1e-5f);
    CHECK(std::abs(z.const_data_ptr<float>()[7 * 8 + i] - eighth[i]) <= 1e-5f);
  }
  const at::Tensor dift = draw_noise(42, 0, 1, {4}, Stream::kDift, kCpu);
  CHECK(std::abs(dift.const_data_ptr<float>()[0] + 1.691436f) <= 1e-5f);
  const at::Tensor far = draw_noise((1ull << 40) + 5, 3, 1, {4, 1001}, Stream::kScan, kCpu);  // block 1000
  CHECK(std::abs(far.const_data_ptr<float>()[4001] - 0.674380f) <= 1e-5f);
}

TEST_CASE("draw_noise: the same for any batch, threads and shape of equal size; cut blocks") {
  const at::Tensor all = draw_noise(1, 0, 6, {3, 7, 5}, Stream::kScan, kCpu);  // 105 = 26 blocks and one number
  const at::Tensor parts =
      at::cat({draw_noise(1, 0, 1, {3, 7, 5}, Stream::kScan, kCpu), draw_noise(1, 1, 4, {3, 7, 5}, Stream::kScan, kCpu),
               draw_noise(1, 5, 1, {3, 7, 5}, Stream::kScan, kCpu)});
  CHECK(all.equal(parts));
  const int threads = at::get_num_threads();
  const at::Tensor big = draw_noise(1, 0, 3, {4, 64, 64}, Stream::kScan, kCpu);
  at::set_num_threads(1);
  CHECK(big.equal(draw_noise(1, 0, 3, {4, 64, 64}, Stream::kScan, kCpu)));
  at::set_num_threads(threads);
  CHECK(draw_noise(1, 0, 1, {8}, Stream::kScan, kCpu)
            .slice(1, 0, 6)
            .equal(draw_noise(1, 0, 1, {6}, Stream::kScan, kCpu)));
  CHECK(!big.equal(draw_noise(2, 0, 3, {4, 64, 64}, Stream::kScan, kCpu)));
}

TEST_CASE("draw_noise: standard normal, samples uncorrelated") {
  const at::Tensor z = draw_noise(9, 0, 2, {1 << 18}, Stream::kTraining, kCpu).to(at::kDouble);
  const double n = static_cast<double>(z.numel());
  CHECK(std::abs(z.mean().item<double>()) < 5 / std::sqrt(n));
  CHECK(std::abs(z.square().mean().item<double>() - 1) < 5 * std::sqrt(2 / n));
  CHECK(std::abs(z.pow(4).mean().item<double>() - 3) < 5 * std::sqrt(96 / n));
  CHECK(std::abs((z[0] * z[1]).mean().item<double>()) < 5 / std::sqrt(n / 2));
}

TEST_CASE("draw_noise: limits") {
  CHECK(draw_noise(1, 0, 0, {4}, Stream::kScan, kCpu).numel() == 0);
  CHECK(draw_noise(1, (int64_t{1} << 32) - 1, 1, {4}, Stream::kScan, kCpu).numel() == 4);
  CHECK(error_code([] { draw_noise(1, int64_t{1} << 32, 1, {4}, Stream::kScan, kCpu); }) == code::kInvalidArgument);
  CHECK(error_code([] { draw_noise(1, -1, 1, {4}, Stream::kScan, kCpu); }) == code::kInvalidArgument);
  CHECK(error_code([] { draw_noise(1, 0, 1, {-4}, Stream::kScan, kCpu); }) == code::kInvalidArgument);
  CHECK(error_code([] {
          draw_noise(1, 0, 2, {int64_t{1} << 40, int64_t{1} << 40}, Stream::kScan, kCpu);
        }) == code::kInvalidArgument);
}

TEST_CASE("stratified_timesteps: the known sequence for u = 0.5") {
  CHECK(stratified_timesteps(0.5, 8, 100, 700) == std::vector<int64_t>{400, 170, 541, 312, 683, 454, 224, 595});
}

TEST_CASE("draw_timesteps: in range, by seed, prefixes agree") {
  for (const Sampler sampler : {Sampler::kStratified, Sampler::kReference}) {
    const auto all = draw_timesteps(sampler, 3, 500, 100, 700);
    for (const int64_t t : all) {
      CHECK(t >= 100);
      CHECK(t < 700);
    }
    const auto some = draw_timesteps(sampler, 3, 77, 100, 700);
    CHECK(std::equal(some.begin(), some.end(), all.begin()));
    CHECK(draw_timesteps(sampler, 4, 500, 100, 700) != all);
    CHECK(draw_timesteps(sampler, 3, 5, 7, 8) == std::vector<int64_t>(5, 7));
    CHECK(error_code([&] { draw_timesteps(sampler, 3, 5, 8, 8); }) == code::kInvalidArgument);
    CHECK(error_code([&] { draw_timesteps(sampler, 3, -5, 0, 8); }) == code::kInvalidArgument);
  }
}

TEST_CASE("draw_timesteps: the reference's draws are uniform, and the test would see it if not") {
  const auto draws = draw_timesteps(Sampler::kReference, 11, 60000, 100, 700);
  CHECK(chi_square(histogram(draws)) < kCritical);
  std::vector<int64_t> biased = draws;  // a twentieth of the draws moved to their half
  for (size_t i = 0; i < biased.size(); i += 20) biased[i] = 100 + (biased[i] - 100) / 2;
  CHECK(chi_square(histogram(biased)) > kCritical);
}

TEST_CASE(
    "mixed_timesteps: every prefix holds the shares of the mixture, without a wide part it is the stratified "
    "sequence") {
  CHECK(mixed_timesteps(5, 0, 300, 50, 400, 0, 1000) == draw_timesteps(Sampler::kStratified, 5, 300, 50, 400));
  CHECK(mixed_timesteps(5, 0, 300, 50, 400, 1, 1000) == draw_timesteps(Sampler::kStratified, 5, 300, 0, 1000));
  const auto all = mixed_timesteps(5, 0, 2000, 50, 400, 0.2, 1000);
  const auto part = mixed_timesteps(5, 700, 9, 50, 400, 0.2, 1000);
  CHECK(std::equal(part.begin(), part.end(), all.begin() + 700));
  const auto probability = [](double t) { return 0.2 * t / 1000 + 0.8 * std::clamp((t - 50) / 350, 0.0, 1.0); };
  for (const size_t n : {16, 100, 501, 2000}) {
    for (const int64_t edge : {20, 50, 120, 225, 399, 400, 401, 700, 999, 1000}) {
      CAPTURE(n);
      CAPTURE(edge);
      const auto below = std::count_if(all.begin(), all.begin() + static_cast<int64_t>(n),
                                       [&](int64_t t) { return t >= 0 && t < edge; });
      CHECK(std::abs(static_cast<double>(below) - static_cast<double>(n) * probability(static_cast<double>(edge))) <
            2.5);
    }
  }
}

TEST_CASE("draw_timesteps: every prefix of the stratified sequence is stratified") {
  const auto all = draw_timesteps(Sampler::kStratified, 5, 400, 0, 1000);
  for (const size_t n : {10, 37, 100, 251, 400}) {
    CAPTURE(n);
    std::vector<int64_t> counts(10, 0);
    for (size_t i = 0; i < n; ++i) ++counts[static_cast<size_t>(all[i] / 100)];
    for (const int64_t count : counts) CHECK(std::abs(static_cast<double>(count) - static_cast<double>(n) / 10) < 2.5);
  }
}
