// Streaming moments against float64 over all samples at once.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/randn.h>
#include <doctest/doctest.h>

#include <cmath>

#include "support.h"
#include "typicality/moments.h"

using namespace diffmine;

TEST_CASE("mean and standard error equal float64's, in whatever batches the samples come") {
  const auto samples =
      at::randn({37, 5, 11}) * 0.3 + 4;  // a mean far above the spread: naive sums of squares would cancel
  const auto exact = samples.to(at::kDouble);
  Moments one_by_one, in_batches, at_once;
  for (int64_t i = 0; i < 37; ++i) one_by_one.add(samples.slice(0, i, i + 1));
  in_batches.add(samples.slice(0, 0, 4)), in_batches.add(samples.slice(0, 4, 30)),
      in_batches.add(samples.slice(0, 30, 37));
  at_once.add(samples);
  CHECK(at_once.count() == 37);
  CHECK(test::close(at_once.mean(), exact.mean(0), 2e-6, 0));
  CHECK(test::close(at_once.standard_error(), exact.std(0, /*unbiased=*/true) / std::sqrt(37.0), 0, 1e-5));
  CHECK(at::equal(at_once.mean(), one_by_one.mean()));
  CHECK(at::equal(at_once.mean(), in_batches.mean()));
  CHECK(at::equal(at_once.standard_error(), one_by_one.standard_error()));
  CHECK(at::equal(at_once.standard_error(), in_batches.standard_error()));
}

TEST_CASE("one sample has no standard error; equal samples have none either, but a number") {
  Moments m;
  const auto x = at::randn({1, 7});
  m.add(x);
  CHECK(at::equal(m.mean(), x[0]));
  CHECK(at::isnan(m.standard_error()).all().item<bool>());
  m.add(x);
  CHECK(at::equal(m.standard_error(), at::full({7}, 0.0f)));
}

TEST_CASE("samples of another shape are refused, and so are moments of nothing") {
  Moments m;
  m.add(at::randn({2, 3, 4}));
  CHECK(test::error_code([&] { m.add(at::randn({2, 3, 5})); }) == code::kInternal);
  CHECK(test::error_code([] { Moments().standard_error(); }) == code::kInternal);
}
