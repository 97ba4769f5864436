// Convolutions by Winograd's minimal filtering against float64, on fresh random input, beside a direct convolution's
// errors.
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "devices.h"
#include "kernels/winograd_cpu.h"
#include "support.h"

using namespace diffmine;

namespace {

double relative(const at::Tensor& got, const at::Tensor& want) {
  return ((got.to(at::kDouble) - want).norm() / want.norm()).item<double>();
}

}  // namespace

TEST_CASE("winograd: odd sizes, several blocks of tiles and of channels, what is added") {
  if (!winograd_pays(32, 32, at::kFloat)) {
    MESSAGE("not on this processor");
    return;
  }
  struct Case {
    int64_t batch, in, out, height, width;
  };
  for (const Case& s : {Case{1, 32, 32, 1, 1}, Case{2, 32, 48, 2, 3}, Case{3, 48, 80, 5, 4}, Case{1, 64, 64, 17, 31},
                        Case{2, 144, 208, 9, 8}, Case{5, 96, 128, 8, 8}, Case{1, 640, 64, 16, 16}}) {
    CAPTURE(s.batch);
    CAPTURE(s.in);
    CAPTURE(s.height);
    const auto x = at::randn({s.batch, s.in, s.height, s.width}),
               weight = at::randn({s.out, s.in, 3, 3}) / std::sqrt(9.0 * static_cast<double>(s.in));
    const auto bias = at::randn({s.out}), residual = at::randn({s.batch, s.out, s.height, s.width});
    const auto exact = at::conv2d(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble), 1, 1);
    const auto packed = winograd_weight(weight);
    const double direct = relative(at::conv2d(x, weight, bias, 1, 1), exact), bound = std::max(1e-6, 4 * direct);
    for (const bool nhwc : {true, false}) {
      const auto laid = [&](const at::Tensor& t) { return nhwc ? t.contiguous(at::MemoryFormat::ChannelsLast) : t; };
      const auto y = winograd_conv(laid(x), packed, bias);
      CHECK(y.is_contiguous(at::MemoryFormat::ChannelsLast));
      CHECK(relative(y, exact) < bound);
      CHECK(relative(winograd_conv(laid(x), packed, bias, laid(residual)), exact + residual) < bound);
    }
    const auto together = winograd_conv(x, packed, bias);
    for (int64_t b = 0; b < s.batch; ++b) {
      const auto of = [b](const at::Tensor& t) { return t.slice(0, b, b + 1); };
      // An image's result does not depend on what those beside it are, to the bit.
      auto others = at::full_like(x, std::numeric_limits<float>::quiet_NaN());
      of(others).copy_(of(x));
      CHECK(of(winograd_conv(others, packed, bias)).equal(of(together)));
      // Alone it makes other blocks: products of fewer rows, whose sums some processors take in another order.
      CHECK(relative(winograd_conv(of(x), packed, bias), of(exact)) < bound);
    }
  }
}

TEST_CASE("winograd: fp16 is multiplied in fp32, and rounded once") {
  if (!winograd_pays(64, 48, at::kHalf)) return;
  const auto half = [](const at::Tensor& t) { return t.to(at::kHalf); };
  const auto x = half(at::randn({2, 64, 9, 6})), weight = half(at::randn({48, 64, 3, 3}) / 24.0),
             bias = half(at::randn({48}));
  const auto residual = half(at::randn({2, 48, 9, 6}));
  const auto exact = at::conv2d(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble), 1, 1);
  const auto packed = winograd_weight(weight), y = winograd_conv(x, packed, bias);
  CHECK((y.scalar_type() == at::kHalf));
  CHECK(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  CHECK(relative(y, exact) < 4e-4);  // half a unit of 2^-11
  CHECK(relative(winograd_conv(x, packed, bias, residual), exact + residual) < 4e-4);
}

TEST_CASE("winograd: what is not finite shows, and large means cancel no digits") {
  if (!winograd_pays(32, 32, at::kFloat)) return;
  const auto weight = at::randn({32, 32, 3, 3}) / 17.0, bias = at::zeros({32}), packed = winograd_weight(weight);
  auto x = at::randn({1, 32, 8, 8});
  const auto far = x + 100;
  CHECK(relative(winograd_conv(far, packed, bias), at::conv2d(far.to(at::kDouble), weight.to(at::kDouble), {}, 1, 1)) <
        2e-6);
  x.index_put_({at::tensor(0), at::tensor(3), at::tensor(4), at::tensor(4)}, at::full({}, INFINITY));
  CHECK_FALSE(winograd_conv(x, packed, bias).isfinite().all().item<bool>());
}
