// The layers' kernels against float64 on fresh random input, in every precision, on the CPU and on a GPU where there is
// one: sizes that no vector divides, layouts that must be copied first, nothing at all.
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "devices.h"
#include "kernels/ops.h"
#include "support.h"

using namespace diffmine;
using test::devices;

namespace {

struct Precision {
  at::ScalarType dtype;
  double rounding;  // of one number
};
const Precision kPrecisions[] = {{at::kFloat, 0x1p-22}, {at::kHalf, 0x1p-11}, {at::kBFloat16, 0x1p-8}};

at::Tensor d(const at::Tensor& t) { return t.to(at::kCPU, at::kDouble); }
at::Tensor by_channel(const at::Tensor& v) { return v.reshape({-1, v.size(-1), 1, 1}); }

// Calls f(device, dtype, rounding) in every precision on every device.
template <class F>
void everywhere(F f) {
  for (const auto& device : devices()) {
    for (const auto& p : kPrecisions) {
      CAPTURE(device.str());
      CAPTURE(std::string(c10::toString(p.dtype)));
      f(at::TensorOptions(device).dtype(p.dtype), p.rounding * 1.01);
    }
  }
}

}  // namespace

TEST_CASE("kernel group_norm: normalized by group, scaled, shifted, through SiLU, channels_last") {
  struct Case {
    int64_t b, c, h, w, groups, scales;
  };  // scales: rows of scale and shift, 0 for none
  for (const Case& s :
       {Case{3, 64, 9, 7, 32, 0}, Case{2, 320, 13, 11, 32, 2}, Case{4, 36, 5, 5, 6, 2}, Case{1, 15, 17, 3, 5, 1},
        Case{1, 8, 1, 1, 1, 0}, Case{2, 7, 3, 3, 7, 0}, Case{1, 1280, 2, 3, 32, 0}, Case{1, 96, 65, 67, 32, 1},
        Case{2, 640, 3, 1, 32, 2}, Case{1, 640, 23, 22, 32, 0}, Case{3, 1920, 1, 2, 32, 1}, Case{1, 2560, 3, 3, 32, 0},
        Case{1, 1031, 2, 2, 1, 1}, Case{1, 258, 3, 1, 129, 0}, Case{1, 4, 63, 65, 2, 1}}) {
    CAPTURE(s.c);
    const auto source = at::randn({s.b, s.c, s.h, s.w}) * 2 + at::randn({1, s.c, 1, 1}), weight = at::randn({s.c}),
               bias = at::randn({s.c});
    const auto scale = at::randn({std::max<int64_t>(s.scales, 1), s.c}),
               shift = at::randn({std::max<int64_t>(s.scales, 1), s.c});
    everywhere([&](const at::TensorOptions& options, double rounding) {
      const auto x = source.to(options).contiguous(at::MemoryFormat::ChannelsLast);
      for (const bool silu : {false, true}) {
        auto want = at::group_norm(d(x), s.groups, d(weight), d(bias), 1e-5);
        at::Tensor scales, shifts;
        if (s.scales) {
          const auto spread = [&](const at::Tensor& v) {
            return d(v).repeat_interleave(s.b / s.scales, 0).reshape({s.b, s.c, 1, 1});
          };
          want = want * (1 + spread(scale)) + spread(shift);
          scales = scale.to(options.device()), shifts = shift.to(options.device()).reshape({s.scales, s.c, 1, 1});
        }
        if (silu) want = at::silu(want);
        const auto apply = [&](const at::Tensor& in) {
          return ops::group_norm(in, weight.to(options.device()), bias.to(options.device()), s.groups, 1e-5,
                                 {.silu = silu, .scale = scales, .shift = shifts});
        };
        const auto got = apply(x);
        CHECK(got.is_contiguous(at::MemoryFormat::ChannelsLast));
        CHECK((got.scalar_type() == x.scalar_type()));
        CHECK(test::close(d(got), want, 1e-5, rounding));
        CHECK(at::equal(got, apply(x)));  // the order of summation is fixed
        CHECK(at::equal(got, apply(x.contiguous())));
        const auto wide = at::zeros({s.b, s.c, s.h, 2 * s.w}, options);
        wide.slice(3, 1, 2 * s.w, 2).copy_(x);
        CHECK(at::equal(got, apply(wide.slice(3, 1, 2 * s.w, 2))));
        const auto shifted = at::empty({x.numel() + 1}, options)
                                 .slice(0, 1)
                                 .view({s.b, s.h, s.w, s.c})
                                 .permute({0, 3, 1, 2});  // no vector's alignment
        shifted.copy_(x);
        CHECK(test::close(d(apply(shifted)), want, 1e-5, rounding));
        // One row alone is what it is in a batch.
        if (!s.scales) CHECK(at::equal(got.slice(0, s.b - 1), apply(x.slice(0, s.b - 1))));
      }
    });
  }
}

TEST_CASE("kernel group_norm: channels of two tensors, and a vector added to them first") {
  // Groups that lie across the border, channels that no vector divides, vectors shared by neighboring rows, one row,
  // none.
  struct Case {
    int64_t b, first, second, h, w, groups, adds;
  };
  for (const Case& s : {Case{2, 1280, 640, 3, 5, 32, 2}, Case{4, 320, 320, 9, 7, 32, 2}, Case{3, 5, 10, 6, 4, 3, 1},
                        Case{2, 64, 8, 33, 31, 8, 0}, Case{1, 8, 4, 17, 3, 2, 1}, Case{2, 12, 0, 5, 9, 3, 2},
                        Case{6, 96, 32, 4, 4, 16, 3}}) {
    CAPTURE(s.first);
    CAPTURE(s.second);
    const int64_t channels = s.first + s.second;
    const auto source = at::randn({s.b, channels, s.h, s.w}) * 2 + at::randn({1, channels, 1, 1}),
               weight = at::randn({channels}), bias = at::randn({channels});
    const auto vector = at::randn({std::max<int64_t>(s.adds, 1), channels}) * 3;
    everywhere([&](const at::TensorOptions& options, double rounding) {
      const auto x = source.to(options).contiguous(at::MemoryFormat::ChannelsLast);
      const auto part = [&](int64_t from, int64_t to) {
        return x.slice(1, from, to).contiguous(at::MemoryFormat::ChannelsLast);
      };
      const auto added = s.adds ? vector.to(options.device()) : at::Tensor();
      auto sum = d(x);
      if (s.adds) sum = sum + by_channel(d(vector).repeat_interleave(s.b / s.adds, 0));
      const auto want = at::silu(at::group_norm(sum, s.groups, d(weight), d(bias), 1e-5));
      const auto apply = [&](const at::Tensor& one, const at::Tensor& beside, const at::Tensor& add) {
        return ops::group_norm(one, weight.to(options.device()), bias.to(options.device()), s.groups, 1e-5,
                               {.silu = true, .add = add, .beside = beside});
      };
      const auto one = part(0, s.first), beside = s.second ? part(s.first, channels) : at::Tensor();
      const auto got = apply(one, beside, added);
      CHECK(got.is_contiguous(at::MemoryFormat::ChannelsLast));
      CHECK(test::close(d(got), want, 2e-5, rounding));
      CHECK(at::equal(
          got, apply(one.contiguous(), s.second ? beside.contiguous() : beside, s.adds ? by_channel(added) : added)));
      const auto whole = apply(x, {}, added);  // as one tensor: in the same tiles, but vectors may be cut elsewhere
      CHECK(test::close(d(whole), want, 2e-5, rounding));
      if (s.adds == s.b)
        CHECK(at::equal(got.slice(0, 1),
                        apply(one.slice(0, 1), s.second ? beside.slice(0, 1) : beside, added.slice(0, 1))));
    });
  }
  // What is added cancels a mean far from zero, or makes one.
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    const auto x = at::randn({2, 64, 33, 31}) + 300, one = at::empty({64}).fill_(1.0), zero = at::zeros({64});
    for (const double by : {-300.0, 300.0}) {
      const auto add = at::empty({1, 64}).fill_(by) + at::randn({1, 64});
      const auto want = at::group_norm(d(x) + by_channel(d(add)), 8, d(one), d(zero), 1e-6);
      const auto got = ops::group_norm(x.to(device), one.to(device), zero.to(device), 8, 1e-6, {.add = add.to(device)});
      CHECK(test::close(d(got), want, 6e-5,
                        1e-4));  // a channel's mean near 600 is rounded by up to 3e-5, where x's deviation is 1
    }
  }
}

TEST_CASE("kernel conv_out: a 3x3 convolution to few channels, in fp32 from any dtype") {
  struct Case {
    int64_t b, c, h, w, out;
  };
  for (const Case& s : {Case{2, 320, 5, 9, 4}, Case{1, 64, 8, 8, 12}, Case{3, 7, 3, 17, 3}, Case{1, 24, 1, 1, 4},
                        Case{2, 16, 2, 33, 5}, Case{1, 1, 4, 7, 1}}) {
    CAPTURE(s.c);
    CAPTURE(s.out);
    const auto source = at::randn({s.b, s.c, s.h, s.w}),
               weight = at::randn({s.out, s.c, 3, 3}) / std::sqrt(9.0 * static_cast<double>(s.c)),
               bias = at::randn({s.out});
    everywhere([&](const at::TensorOptions& options, double) {
      const auto on = [&](const at::Tensor& t) { return t.to(options.device()); };
      const auto x = source.to(options).contiguous(at::MemoryFormat::ChannelsLast);
      const auto want = at::conv2d(d(x), d(weight), d(bias), {1, 1}, {1, 1});
      const auto apply = [&](const at::Tensor& in) {
        return ops::conv_out(in, ops::conv_out_weight(on(weight)), on(bias));
      };
      const auto got = apply(x);
      CHECK((got.scalar_type() == at::kFloat));
      CHECK(got.is_contiguous(at::MemoryFormat::ChannelsLast));
      CHECK(test::close(d(got), want, 1e-5, 1e-5));  // fp32 from there on, whatever the dtype of x
      CHECK(at::equal(got, apply(x.contiguous())));
      CHECK(at::equal(got.slice(0, s.b - 1), apply(x.slice(0, s.b - 1))));  // one image alone is what it is in a batch
      const auto shifted = at::empty({x.numel() + 1}, options)
                               .slice(0, 1)
                               .view({s.b, s.h, s.w, s.c})
                               .permute({0, 3, 1, 2});  // no vector's alignment
      shifted.copy_(x);
      CHECK(test::close(d(apply(shifted)), want, 1e-5, 1e-5));
      CHECK(apply(x.slice(0, 0, 0)).sizes() == at::IntArrayRef({0, s.out, s.h, s.w}));
    });
  }
}

TEST_CASE("kernel group_norm: a mean far from zero cancels nothing") {
  auto x = at::randn({2, 64, 33, 31}) + 300;
  x[1][5][0][0] = 400;  // an outlier of a hundred deviations, where sums begin
  const auto one = at::empty({64}).fill_(1.0), zero = at::zeros({64});
  const auto want = at::group_norm(d(x), 8, d(one), d(zero), 1e-6);
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    const auto got = ops::group_norm(x.to(device), one.to(device), zero.to(device), 8, 1e-6);
    CHECK(test::close(d(got), want, 1e-5, 1e-4));
  }
}

TEST_CASE("kernel group_norm: an image of one color, of NaN, of nothing") {
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    const auto one = at::empty({32}).fill_(1.0).to(device), zero = at::zeros({32}).to(device);
    auto x = at::empty({2, 32, 6, 5}).fill_(7.25).to(device);
    CHECK(at::equal(ops::group_norm(x, one, zero, 4, 1e-5), at::zeros_like(x)));
    x[1][3][2][2] = std::numeric_limits<float>::quiet_NaN();
    const auto got = ops::group_norm(x, one, zero, 4, 1e-5).cpu();
    CHECK(at::isnan(got[1].slice(0, 0, 8)).all().item<bool>());  // its group
    CHECK(at::isfinite(got[1].slice(0, 8)).all().item<bool>());
    CHECK(at::isfinite(got[0]).all().item<bool>());
    CHECK(ops::group_norm(x.slice(0, 0, 0), one, zero, 4, 1e-5).sizes() == at::IntArrayRef({0, 32, 6, 5}));
    CHECK(ops::group_norm(x.slice(2, 0, 0), one, zero, 4, 1e-5).numel() == 0);
  }
}

TEST_CASE("kernel layer_norm: each row normalized") {
  // A row is as many packs to a lane of the GPU's warp as 4 or 8 x 32 channels go into it, up to 2, 3, 5 and 12; then a
  // block's.
  for (const int64_t c : {1,   3,   31,  40,   77,   128,  256,  264,  320,  384,  392,  512,  520, 640,
                          648, 768, 776, 1280, 1288, 1536, 1544, 1920, 2049, 2560, 3072, 3080, 5000}) {
    CAPTURE(c);
    const auto source = at::randn({2, 5, c}) * 3 + 1, weight = at::randn({c}), bias = at::randn({c});
    everywhere([&](const at::TensorOptions& options, double rounding) {
      const auto x = source.to(options);
      const auto want = at::layer_norm(d(x), {c}, d(weight), d(bias), 1e-5);
      const auto apply = [&](const at::Tensor& in) {
        return ops::layer_norm(in, weight.to(options.device()), bias.to(options.device()), 1e-5);
      };
      const auto got = apply(x);
      CHECK(test::close(d(got), want, 4e-6, rounding));
      CHECK(at::equal(got.transpose(0, 1), apply(x.transpose(0, 1))));
      CHECK(at::equal(got.select(1, 3), apply(x.select(1, 3))));
      const auto shifted = at::empty({10 * c + 1}, options).slice(0, 1).reshape({2, 5, c});  // no vector's alignment
      shifted.copy_(x);
      CHECK(test::close(d(apply(shifted)), want, 4e-6, rounding));
      const auto beside = at::zeros({c + 1}).slice(0, 1).copy_(weight).to(options.device());
      CHECK(test::close(d(ops::layer_norm(x, beside, bias.to(options.device()), 1e-5)), want, 4e-6, rounding));
      CHECK(apply(x.slice(0, 0, 0)).numel() == 0);
      // With a vector added first.
      const auto add = at::randn({c}) * 2;
      const auto sum = at::layer_norm(d(x) + d(add), {c}, d(weight), d(bias), 1e-5);
      const auto aside = at::zeros({c + 1}).slice(0, 1).copy_(add).to(options.device());
      for (const auto& vector : {add.to(options.device()), aside}) {
        CHECK(test::close(d(ops::layer_norm(x, weight.to(options.device()), bias.to(options.device()), 1e-5, vector)),
                          sum, 8e-6, rounding));
      }
    });
  }
  const auto far = at::randn({3, 320}) + 1000;
  for (const auto& device : devices()) {
    const auto one = at::empty({320}).fill_(1.0).to(device), zero = at::zeros({320}).to(device);
    CHECK(test::close(d(ops::layer_norm(far.to(device), one, zero, 1e-5)), at::layer_norm(d(far), {320}, {}, {}, 1e-5),
                      2e-4, 1e-5));
  }
}

TEST_CASE("kernel geglu: hidden times the exact GELU of the gate") {
  for (const int64_t c : {1, 5, 64, 320, 1024, 1280, 1283, 2560}) {
    CAPTURE(c);
    const auto source = at::randn({3, 7, 2 * c}) * 3;
    everywhere([&](const at::TensorOptions& options, double rounding) {
      const auto x = source.to(options);
      const auto halves = d(x).chunk(2, -1);
      const auto got = ops::geglu(x);
      CHECK(got.sizes() == at::IntArrayRef({3, 7, c}));
      CHECK(test::close(d(got), halves[0] * at::gelu(halves[1]), 1e-5, rounding));
      CHECK(at::equal(got.transpose(0, 1), ops::geglu(x.transpose(0, 1))));
      const auto shifted = at::empty({42 * c + 1}, options).slice(0, 1).reshape({3, 7, 2 * c});
      shifted.copy_(x);
      CHECK(test::close(d(ops::geglu(shifted)), halves[0] * at::gelu(halves[1]), 1e-5, rounding));
      CHECK(ops::geglu(x.slice(1, 0, 0)).sizes() == at::IntArrayRef({3, 0, c}));
    });
  }
}

TEST_CASE("kernel add: vectors over channels and residuals, rows of the batch sharing them") {
  struct Case {
    int64_t b, c, h, w, shared;
  };
  for (const Case& s : {Case{4, 64, 5, 7, 2}, Case{6, 320, 9, 8, 6}, Case{2, 7, 3, 5, 1}, Case{3, 12, 33, 31, 3},
                        Case{2, 640, 3, 3, 1}, Case{4, 2560, 1, 2, 2}, Case{1, 8, 8, 16, 1}}) {
    CAPTURE(s.c);
    const auto source = at::randn({s.b, s.c, s.h, s.w}), v = at::randn({s.shared, s.c}),
               rest = at::randn({s.shared, s.c, s.h, s.w}), bias = at::randn({s.c});
    everywhere([&](const at::TensorOptions& options, double rounding) {
      const auto on = [&](const at::Tensor& t) { return t.to(options.device()); };
      const auto spread = [&](const at::Tensor& t) { return d(t).repeat_interleave(s.b / s.shared, 0); };
      const auto x = source.to(options).contiguous(at::MemoryFormat::ChannelsLast), residual = rest.to(options);
      const auto copy = [&] { return x.clone(at::MemoryFormat::ChannelsLast); };

      auto y = copy();
      const auto given = ops::add_channels_(y, on(v));
      CHECK(given.data_ptr() == y.data_ptr());
      CHECK(test::close(d(y), d(x) + spread(by_channel(v)), 1e-6, rounding));
      CHECK(test::close(d(ops::add_channels_(copy(), on(by_channel(v)).to(options.dtype()))),
                        d(x) + spread(d(by_channel(v).to(options.dtype()))), 1e-6, rounding));

      CHECK(test::close(d(ops::add_residual_(copy(), residual)), d(x) + spread(residual), 1e-6, rounding));
      CHECK(test::close(d(ops::add_residual_(copy(), residual.contiguous(at::MemoryFormat::ChannelsLast), on(bias))),
                        d(x) + spread(residual) + d(by_channel(bias)), 1e-6, rounding));

      const auto tokens = x.permute({0, 2, 3, 1}).flatten(1, 2).contiguous(),
                 more = residual.permute({0, 2, 3, 1}).flatten(1, 2);
      CHECK(test::close(d(ops::add_residual_(tokens.clone(), more, on(bias))), d(tokens) + spread(more) + d(bias), 1e-6,
                        rounding));
      auto shifted = at::empty({tokens.numel() + 1}, options).slice(0, 1).view(tokens.sizes());
      shifted.copy_(tokens);
      CHECK(test::close(d(ops::add_residual_(shifted, more, on(bias))), d(tokens) + spread(more) + d(bias), 1e-6,
                        rounding));
      const auto aside = [&](const at::Tensor& t) {
        return at::zeros({t.numel() + 1}, t.options()).slice(0, 1).view(t.sizes()).copy_(t);
      };
      CHECK(test::close(d(ops::add_residual_(tokens.clone(), aside(more.contiguous()), aside(on(bias)))),
                        d(tokens) + spread(more) + d(bias), 1e-6, rounding));
      CHECK(test::close(d(ops::add_channels_(copy(), aside(on(v)))), d(x) + spread(by_channel(v)), 1e-6, rounding));
      CHECK(ops::add_residual_(x.slice(0, 0, 0), residual.slice(0, 0, 0)).numel() == 0);
    });
  }
}

TEST_CASE("kernel arguments of layers: shapes that do not fit are refused") {
  const auto x = at::zeros({2, 6, 4, 5}), six = at::zeros({6});
  const auto refused = [](auto f) { return test::error_code(f) == code::kInternal; };
  CHECK(refused([&] { ops::group_norm(x, six, six, 4, 1e-5); }));
  CHECK(refused([&] { ops::group_norm(x, six, at::zeros({5}), 3, 1e-5); }));
  CHECK(refused([&] {
    ops::group_norm(x, six, six, 3, 1e-5, {.scale = at::zeros({4, 6}), .shift = at::zeros({4, 6})});
  }));
  CHECK(refused([&] { ops::group_norm(x, six, six, 3, 1e-5, {.scale = at::zeros({2, 6})}); }));
  CHECK(refused([&] { ops::group_norm(x, six, six, 3, 1e-5, {.add = at::zeros({2, 5})}); }));
  CHECK(refused([&] { ops::group_norm(x, six, six, 3, 1e-5, {.beside = x}); }));  // 12 channels, 6 weights
  CHECK(refused([&] { ops::group_norm(x.slice(1, 0, 3), six, six, 3, 1e-5, {.beside = at::zeros({2, 3, 4, 4})}); }));
  CHECK(refused([&] {
    ops::group_norm(x.slice(1, 0, 3), six, six, 3, 1e-5, {.beside = at::zeros({2, 3, 4, 5}, at::kHalf)});
  }));
  CHECK(refused([&] { ops::group_norm(x.to(at::kDouble), six, six, 3, 1e-5); }));
  CHECK(refused([&] { ops::layer_norm(x, six, six, 1e-5); }));
  CHECK(refused([&] { ops::layer_norm(x.transpose(1, 3), six, six, 1e-5, at::zeros({5})); }));
  CHECK(refused([&] { ops::conv_out(x, ops::conv_out_weight(at::zeros({4, 5, 3, 3})), at::zeros({4})); }));
  CHECK(refused([&] { ops::conv_out(x, ops::conv_out_weight(at::zeros({4, 6, 3, 3})), at::zeros({5})); }));
  CHECK(refused([&] { ops::geglu(x); }));
  CHECK(refused([&] {
    ops::add_channels_(x, at::zeros({2, 6}));
  }));  // not channels_last: adding in place needs the layout
  CHECK(refused([&] { ops::add_channels_(x.contiguous(at::MemoryFormat::ChannelsLast), at::zeros({3, 6})); }));
  CHECK(refused([&] { ops::add_residual_(x, at::zeros({2, 6, 4, 4})); }));
  CHECK(refused([&] { ops::add_residual_(x, x.to(at::kHalf)); }));
}
