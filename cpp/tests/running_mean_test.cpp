// The running mean against float64 over all samples at once.
#include "typicality/running_mean.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <doctest/doctest.h>

#include "support.h"

using namespace diffmine;

TEST_CASE("the running mean equals float64's, in whatever batches the samples come") {
  const auto samples = at::randn({37, 5, 11}) * 0.3 + 4;
  RunningMean one_by_one, in_batches, at_once;
  for (int64_t i = 0; i < 37; ++i) one_by_one.add(samples.slice(0, i, i + 1));
  in_batches.add(samples.slice(0, 0, 4)), in_batches.add(samples.slice(0, 4, 30)),
      in_batches.add(samples.slice(0, 30, 37));
  at_once.add(samples);
  CHECK(at_once.count() == 37);
  CHECK(test::close(at_once.mean(), samples.to(at::kDouble).mean(0), 2e-6, 0));
  CHECK(at::equal(at_once.mean(), one_by_one.mean()));
  CHECK(at::equal(at_once.mean(), in_batches.mean()));
}

TEST_CASE("the running mean of one sample is the sample; samples of another shape are refused") {
  RunningMean mean;
  const auto x = at::randn({1, 7});
  mean.add(x);
  CHECK(at::equal(mean.mean(), x[0]));
  CHECK(test::error_code([&] { mean.add(at::randn({2, 8})); }) == code::kInternal);
}
