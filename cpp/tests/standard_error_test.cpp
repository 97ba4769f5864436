// Standard errors of means over stratified samples and rivals that take turns.
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <cmath>

#include "diffusion/noise.h"
#include "support.h"
#include "typicality/standard_error.h"

using namespace diffmine;

namespace {

// [N, R]: in every block of R samples each rival once, in a random order.
at::Tensor turns(int64_t samples, int64_t rivals) {
  auto out = at::zeros({samples, rivals}, at::kDouble);
  at::Tensor order;
  for (int64_t n = 0; n < samples; ++n) {
    if (n % rivals == 0) order = at::randperm(rivals, at::kLong);
    out[n][order[n % rivals].item<int64_t>()] = 1;
  }
  return out;
}

// The stated variance of the mean of each column of d [N, columns].
at::Tensor variance(const Spread& spread, const at::Tensor& d) {
  const auto x = d.to(at::kFloat);
  const auto residuals = (x - at::mm(spread.basis, at::mm(spread.basis.t(), x))) * spread.scale.unsqueeze(1);
  return (residuals.square().sum(0) + at::mm(spread.trend, x).square().sum(0)).to(at::kDouble);
}

// The spread of the mean over seeds, divided by what is stated.
double ratio(Sampler sampler, int64_t samples, int64_t rivals) {
  constexpr int64_t kSeeds = 400, kColumns = 64;
  const auto effects = at::randn({rivals, kColumns}, at::kDouble) * 0.5;
  const auto slopes = at::randn({1, kColumns}, at::kDouble) * 2, bends = at::randn({1, kColumns}, at::kDouble);
  auto stated = at::zeros({kColumns}, at::kDouble);
  std::vector<at::Tensor> means;
  for (int64_t seed = 0; seed < kSeeds; ++seed) {
    const auto t = draw_timesteps(sampler, seed, samples, 50, 400);
    const auto of_t =
        at::from_blob(const_cast<int64_t*>(t.data()), {samples, 1}, at::kLong).to(at::kDouble) / 175 - 1.3;
    const auto rival = turns(samples, rivals);
    // A loss difference that depends on t and the rival, its noise larger at small t.
    const auto d = slopes * of_t + bends * (2 * of_t).sin() + at::mm(rival, effects) +
                   at::randn({samples, kColumns}, at::kDouble) * (-of_t).exp();
    const auto spread =
        spread_of(samples, sampler == Sampler::kStratified ? Strata{t.data(), 50, 400} : Strata{}, rival);
    stated += variance(spread, d) / kSeeds;
    means.push_back(d.mean(0));
  }
  const auto spread_over_seeds = at::stack(means).var(0, /*unbiased=*/true);
  return std::sqrt((spread_over_seeds.mean() / stated.mean()).item<double>());
}

}  // namespace

TEST_CASE("independent samples have the standard error s / sqrt(N), one sample none") {
  const auto d = at::randn({9, 5}, at::kDouble) + 3;
  CHECK(test::close(variance(spread_of(9, {}, {}), d), d.var(0, true) / 9, 1e-6, 1e-5));
  // A rival that is always there explains nothing.
  CHECK(
      test::close(variance(spread_of(9, {}, at::zeros({9, 2}, at::kDouble) + 0.5), d), d.var(0, true) / 9, 1e-6, 1e-5));
  const int64_t t = 120;
  CHECK(at::isnan(variance(spread_of(1, Strata{&t, 50, 400}, {}), d.slice(0, 0, 1))).all().item<bool>());
}

TEST_CASE("a trend over stratified timesteps and the rivals' own means are no noise") {
  const auto t = stratified_timesteps(0.3, 24, 50, 400);
  const auto of_t = at::tensor(t, at::kLong).to(at::kDouble).unsqueeze(1) / 400;
  const auto rival = turns(24, 5);
  const auto d = 1 + 2 * of_t - 3 * of_t.square() + at::mm(rival, at::randn({5, 1}, at::kDouble));
  const Strata strata{t.data(), 50, 400};
  const auto residual = [&](const Spread& spread) {
    const auto x = d.to(at::kFloat);
    return (x - at::mm(spread.basis, at::mm(spread.basis.t(), x))).abs().max().item<double>();
  };
  CHECK(residual(spread_of(24, strata, rival)) < 1e-5);
  CHECK(residual(spread_of(24, {}, rival)) > 0.01);
  CHECK(residual(spread_of(24, strata, {})) > 0.01);
  // What is left is how far the mean over these timesteps is from the mean over the range.
  double sum = 0, squares = 0;
  for (int i = 0; i < 500; ++i) {
    double mean = 0;
    for (const int64_t s : stratified_timesteps((i + 0.5) / 500, 24, 50, 400))
      mean += (2 * static_cast<double>(s) / 400 - 3 * std::pow(static_cast<double>(s) / 400, 2)) / 24;
    sum += mean / 500, squares += mean * mean / 500;
  }
  CHECK(variance(spread_of(24, strata, rival), d).item<double>() == doctest::Approx(squares - sum * sum).epsilon(0.05));
  // More rivals than can be told apart stay in the residuals.
  CHECK(spread_of(24, {}, turns(24, 13)).basis.size(1) == 1);
  CHECK(spread_of(24, {}, turns(24, 12)).basis.size(1) == 12);
}

TEST_CASE("stated standard errors are the spread over seeds") {
  for (const auto sampler : {Sampler::kStratified, Sampler::kReference}) {
    for (const int64_t samples : {16, 25, 50}) {
      CAPTURE(static_cast<int>(sampler));
      CAPTURE(samples);
      const double found = ratio(sampler, samples, 5);
      CAPTURE(found);
      CHECK(found > 0.95);
      CHECK(found < 1.05);
    }
  }
}
