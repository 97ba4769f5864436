// Heat maps against their definition, tap by tap in float64.
#include "localization/heat_map.h"

#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

using namespace diffmine;

namespace {

int64_t reflect(int64_t i, int64_t n) {
  if (i < 0) return -i;
  return i < n ? i : 2 * (n - 1) - i;
}

double blurred(const at::Tensor& map, int64_t row, int64_t column, int64_t kernel, double sigma) {
  const auto values = map.accessor<float, 2>();
  double sum = 0, norm = 0;
  for (int64_t y = -kernel / 2; y <= kernel / 2; ++y) {
    for (int64_t x = -kernel / 2; x <= kernel / 2; ++x) {
      const double weight = std::exp(-0.5 * static_cast<double>(y * y + x * x) / (sigma * sigma));
      sum += weight * values[reflect(row + y, map.size(0))][reflect(column + x, map.size(1))];
      norm += weight;
    }
  }
  return sum / norm;
}

}  // namespace

TEST_CASE("heat maps: the Gaussian is cut, normalized and reflected") {
  const auto maps = at::randn({2, 11, 8});
  const auto heat = heat_maps(maps, {11, 8, 7, 2.0});
  REQUIRE(heat.sizes() == maps.sizes());
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t row = 0; row < 11; ++row) {
      for (int64_t column = 0; column < 8; ++column) {
        CHECK(heat[n][row][column].item<double>() ==
              doctest::Approx(blurred(maps[n], row, column, 7, 2.0)).epsilon(1e-5).scale(1));
      }
    }
  }
}

TEST_CASE("heat maps: a constant stays one through upsampling and blur") {
  const auto heat = heat_maps(at::full({1, 3, 5}, 0.25f), {24, 40, 15, 4.0});
  CHECK(heat.size(1) == 24);
  CHECK(heat.size(2) == 40);
  CHECK((heat - 0.25).abs().max().item<double>() < 1e-6);
}

TEST_CASE("heat maps refuse Gaussians that do not fit") {
  const auto maps = at::randn({1, 8, 8});
  CHECK_THROWS_AS(heat_maps(maps, {8, 8, 6, 1.0}), Error);
  CHECK_THROWS_AS(heat_maps(maps, {8, 8, 17, 1.0}), Error);
  CHECK_THROWS_AS(heat_maps(maps, {8, 8, 5, 0.0}), Error);
  CHECK_THROWS_AS(heat_maps(maps[0], {8, 8, 5, 1.0}), Error);
}
