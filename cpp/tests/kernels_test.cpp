// Each kernel against float64 on fresh random input of odd sizes: the CPU implementations here, and the same cases on a
// GPU where the build and the machine have one.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "devices.h"
#include "diffusion/noise.h"
#include "kernels/noise.h"
#include "kernels/ops.h"
#include "support.h"

using namespace diffmine;
using test::devices;

TEST_CASE("kernel philox_normal: Box-Muller of Philox's words, by position") {
  const uint64_t seed = (test::seed() + 1) * 0x100000001ull;  // both of its words
  const int64_t samples = 3;
  for (const int64_t per_sample : {1, 2, 3, 4, 1001, 1024}) {  // the last block of four cut, and whole
    CAPTURE(per_sample);
    auto want = at::empty({samples, per_sample}, at::kDouble);
    for (int64_t s = 0; s < samples; ++s) {
      for (int64_t i = 0; i < per_sample; ++i) {
        const Uint4 r = philox_block(seed, static_cast<uint32_t>(5 + s), Stream::kDift, i / 4);
        const double u = static_cast<float>(((i % 4 < 2 ? r.x : r.z) >> 8) + 0.5), v = (i % 4 < 2 ? r.y : r.w) >> 8;
        const double radius = std::sqrt(-2 * std::log(u * 0x1p-24)), angle = 2 * M_PI * v * 0x1p-24;
        want[s][i] = radius * (i % 2 ? std::sin(angle) : std::cos(angle));
      }
    }
    auto cpu = at::empty({samples, per_sample});
    philox_normal_cpu(cpu.data_ptr<float>(), 5, samples, per_sample, seed, static_cast<uint32_t>(Stream::kDift));
    CHECK(test::close(cpu, want, 5e-6, 5e-6));
    for (const auto& device : devices()) {
      CAPTURE(device.str());
      const auto got = draw_noise(seed, 5, samples, {per_sample}, Stream::kDift, device).cpu();
      CHECK(test::close(got, want, 5e-6, 5e-6));
      if (device.is_cpu()) CHECK(at::equal(got, cpu));
    }
  }
}

TEST_CASE("kernel add_noise: a x + s eps in the UNet's layout and precision") {
  const auto x = at::randn({5, 3, 7, 11}), noise = at::randn({5, 3, 7, 11}), a = at::rand({5}), s = at::rand({5});
  const auto by_row = [](const at::Tensor& v) { return v.to(at::kDouble).reshape({-1, 1, 1, 1}); };
  const auto want = by_row(a) * x.to(at::kDouble) + by_row(s) * noise.to(at::kDouble);
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    const auto on = [&](const at::Tensor& t) { return t.to(device); };
    struct Case {
      at::ScalarType dtype;
      double tolerance;
    };
    for (const Case& c : {Case{at::kFloat, 2e-7}, Case{at::kHalf, 0x1p-11}, Case{at::kBFloat16, 0x1p-8}}) {
      CAPTURE(c.tolerance);
      const auto got = ops::add_noise(on(x), on(noise), on(a), on(s), c.dtype);
      CHECK((got.scalar_type() == c.dtype));
      CHECK(got.is_contiguous(at::MemoryFormat::ChannelsLast));
      CHECK(test::close(got.cpu(), want, 5e-7, c.tolerance * 1.01));
    }
    // Strided views in, as slices of a batch are.
    const auto wide = at::randn({5, 3, 7, 22});
    const auto view = on(wide).slice(3, 0, 22, 2);
    const auto noised = [&](const at::Tensor& t) { return ops::add_noise(t, on(noise), on(a), on(s), at::kFloat); };
    CHECK(at::equal(noised(view), noised(view.contiguous())));
  }
}

TEST_CASE("kernel draw_and_add_noise: the noise of draw_noise, added as add_noise does") {
  const uint64_t seed = test::seed();
  for (const auto& chw : {std::vector<int64_t>{4, 9, 8},
                          {3, 7, 5},
                          {3, 1, 2},
                          {1, 1, 3}}) {  // the last block of each sample whole, and cut
    const auto latents = at::randn({2, chw[0], chw[1], chw[2]}), a = at::rand({5}), s = at::rand({5});
    const auto image = at::tensor({0, 0, 1, 1, 0}, at::kLong), sample = at::tensor({8, 9, 0, 1, 9}, at::kLong);
    const auto drawn = draw_noise(seed, 0, 10, chw, Stream::kScan, at::kCPU).index_select(0, sample);
    for (const auto& device : devices()) {
      CAPTURE(device.str());
      const auto on = [&](const at::Tensor& t) { return t.to(device); };
      for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        const auto [x, noise] = ops::draw_and_add_noise(on(latents), on(image), on(sample), on(a), on(s), seed,
                                                        static_cast<uint32_t>(Stream::kScan), dtype);
        CHECK(test::close(noise, drawn, 5e-6, 5e-6));
        CHECK((x.scalar_type() == dtype));
        CHECK(x.is_contiguous(at::MemoryFormat::ChannelsLast));
        CHECK(test::close(x.to(at::kFloat),
                          ops::add_noise(on(latents.index_select(0, image)), noise, on(a), on(s), dtype).to(at::kFloat),
                          5e-7, dtype == at::kFloat ? 0 : 0x1p-7));
        if (device.is_cpu()) CHECK(at::equal(noise, drawn));
      }
      const auto none = on(image.slice(0, 0, 0)), no = on(a.slice(0, 0, 0));
      CHECK(ops::draw_and_add_noise(on(latents), none, none, no, no, seed, 0, at::kHalf).first.size(0) == 0);
    }
  }
}

TEST_CASE("kernel loss_difference: the mean over channels of sum_k w_k (L_k - L_s), unfolded") {
  struct Case {
    int64_t rows, conditions, outputs, channels, fold;
  };
  for (const Case& c :
       {Case{3, 2, 1, 4, 1}, Case{2, 5, 4, 3, 1}, Case{3, 3, 2, 12, 2}, Case{1, 2, 2, 9, 3}, Case{5, 4, 3, 32, 4}}) {
    CAPTURE(c.fold);
    const int64_t p = c.rows, k = c.conditions, m = c.outputs;
    const auto e = at::randn({p * k, c.channels, 5, 7}), x = at::randn({p, c.channels, 5, 7}),
               noise = at::randn({p, c.channels, 5, 7});
    const auto target_x = at::randn({p}), target_noise = at::randn({p}), weight = at::randn({p, m, k});
    weight.select(2, 0).zero_();
    const auto subject = at::randint(k, {p, m}, at::kLong);
    const auto d = [](const at::Tensor& t) { return t.to(at::kDouble); };
    const auto by_row = [&](const at::Tensor& v) { return d(v).reshape({-1, 1, 1, 1}); };
    const auto target = by_row(target_x) * d(x) + by_row(target_noise) * d(noise);
    auto loss = (d(e).unflatten(0, {p, k}) - target.unsqueeze(1)).square();
    if (c.fold > 1) loss = at::pixel_shuffle(loss, c.fold);
    loss = loss.mean(2);  // [P, K, fold 5, fold 7]
    std::vector<at::Tensor> want;
    for (int64_t i = 0; i < p * m; ++i) {
      const auto row = loss[i / m];
      const auto gaps = row - row[subject.flatten()[i].item<int64_t>()];
      want.push_back((gaps * d(weight).flatten(0, 1)[i].reshape({-1, 1, 1})).sum(0));
    }
    for (const auto& device : devices()) {
      CAPTURE(device.str());
      const auto on = [&](const at::Tensor& t) { return t.to(device); };
      const auto got = ops::loss_difference(on(e).contiguous(at::MemoryFormat::ChannelsLast), on(x), on(noise),
                                            on(target_x), on(target_noise), on(subject), on(weight), c.fold);
      CHECK(test::close(got.cpu().flatten(0, 1), at::stack(want), 2e-5, 1e-5));
    }
  }
}

TEST_CASE("kernel loss_difference does not cancel where predictions nearly agree") {
  const auto e = at::randn({1, 4, 9, 9}), noise = at::randn({1, 4, 9, 9}), zero = at::zeros({1});
  const auto both = at::stack({e[0], e[0] + at::randn({4, 9, 9}) * 1e-5});
  const auto d = both.to(at::kDouble), target = noise.to(at::kDouble);
  const auto want = ((d[1] - target[0]).square() - (d[0] - target[0]).square()).mean(0);
  for (const auto& device : devices()) {
    const auto on = [&](const at::Tensor& t) { return t.to(device); };
    const auto got =
        ops::loss_difference(on(both), on(at::zeros_like(noise)), on(noise), on(zero), on(zero + 1),
                             on(at::zeros({1, 1}, at::kLong)), on(at::tensor({0.0f, 1.0f}).reshape({1, 1, 2})), 1);
    CHECK(test::close(got.cpu()[0][0], want, 1e-11, 1e-5));  // squared losses in fp32 would be wrong by 1e-7
  }
}

TEST_CASE("kernel loss_moments: loss differences folded into their moments") {
  struct Case {
    int64_t samples, conditions, outputs, channels, fold, h, w;
  };
  for (const Case& c : {Case{7, 2, 1, 4, 1, 5, 7}, Case{5, 4, 3, 12, 2, 5, 7}, Case{1, 2, 2, 9, 3, 5, 7},
                        Case{3, 3, 1, 3, 1, 8, 8}, Case{2, 2, 2, 4, 1, 33, 2}}) {
    CAPTURE(c.fold);
    const int64_t n = c.samples, k = c.conditions, m = c.outputs;
    const auto e = at::randn({n * k, c.channels, c.h, c.w}), x = at::randn({c.channels, c.h, c.w}),
               noise = at::randn({n, c.channels, c.h, c.w});
    const auto target_x = at::randn({n}), target_noise = at::randn({n}), weight = at::randn({m, k}),
               scale = at::rand({n}) * 2;
    const auto subject = at::randint(k, {m}, at::kLong);
    for (const auto& device : devices()) {
      CAPTURE(device.str());
      const auto on = [&](const at::Tensor& t) { return t.to(device); };
      const auto rows = [&](const at::Tensor& t) {
        std::vector<int64_t> shape(t.sizes().begin(), t.sizes().end());
        shape.insert(shape.begin(), n);
        return on(t).unsqueeze(0).expand(shape);
      };
      const auto apart = ops::loss_difference(on(e), rows(x), on(noise), on(target_x), on(target_noise), rows(subject),
                                              rows(weight), c.fold) *
                         on(scale).reshape({n, 1, 1, 1});
      const int64_t map[] = {m, c.h * c.fold, c.w * c.fold};
      const auto zeros = [&] { return at::zeros(map, at::TensorOptions(device)); };
      auto want_mean = zeros(), want_m2 = zeros();
      ops::update_moments(apart, 0, want_mean, want_m2);
      for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
        auto mean = zeros(), m2 = zeros();
        const int64_t half = n / 2;  // in two runs, the second after the first
        const auto run = [&](int64_t begin, int64_t end, bool keep) {
          const auto of = [&](const at::Tensor& t) { return on(t).slice(0, begin, end); };
          auto differences =
              keep ? at::empty({end - begin, map[0], map[1], map[2]}, at::TensorOptions(device)) : at::Tensor();
          ops::loss_moments(on(e).contiguous(format).slice(0, begin * k, end * k), on(x), of(noise), of(target_x),
                            of(target_noise), of(scale), on(subject), on(weight), c.fold, begin, mean, m2, differences);
          return differences;
        };
        run(0, half, false);
        const auto differences = run(half, n, true);
        CHECK(test::close(differences, apart.slice(0, half, n), 1e-5, 1e-6));
        CHECK(test::close(mean, want_mean, 1e-5, 1e-6));
        CHECK(test::close(m2, want_m2, 1e-4, 1e-5));
        if (device.is_cpu()) CHECK((at::equal(mean, want_mean) && at::equal(m2, want_m2)));
      }
    }
  }
}

TEST_CASE("kernel update_moments: Welford's mean and sum of squares") {
  const auto samples = at::randn({23, 9, 577}) + 3;
  const auto exact = samples.to(at::kDouble);
  const auto want_m2 = (exact - exact.mean(0, true)).square().sum(0);
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    auto mean = at::zeros({9, 577}, at::TensorOptions(device)), m2 = at::zeros_like(mean);
    ops::update_moments(samples.slice(0, 0, 10).to(device), 0, mean, m2);
    ops::update_moments(samples.slice(0, 10, 23).to(device), 10, mean, m2);
    CHECK(test::close(mean.cpu(), exact.mean(0), 3e-6, 0));
    CHECK(test::close(m2.cpu(), want_m2, 1e-5, 2e-5));
  }
}

TEST_CASE("kernel select_patches: each map its own greedy choice, ties to the first") {
  const auto scores =
      at::stack({at::randn({61, 47}), (at::rand({61, 47}) * 3).floor(), at::zeros({61, 47})}).unsqueeze(0);
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    for (const bool ascending : {false, true}) {
      const auto got = ops::select_patches(scores.to(device), 13, 30, ascending).cpu();
      REQUIRE(got.sizes() == at::IntArrayRef({1, 3, 30}));
      for (int64_t map = 0; map < 3; ++map) {
        const auto value = (ascending ? -scores[0][map] : scores[0][map]).contiguous();
        std::vector<int64_t> chosen;
        for (int64_t pick = 0; pick < 30; ++pick) {  // the definition, place by place
          int64_t best = -1;
          for (int64_t i = 0; i < value.numel(); ++i) {
            bool room = true;
            for (const int64_t c : chosen)
              room = room && (std::abs(i / 47 - c / 47) > 13 || std::abs(i % 47 - c % 47) > 13);
            if (room && (best < 0 || value.const_data_ptr<float>()[i] > value.const_data_ptr<float>()[best])) best = i;
          }
          CHECK(got[0][map][pick].item<int64_t>() == best);
          if (best >= 0) chosen.push_back(best);
        }
        CHECK(chosen.size() < 30);
      }
    }
    const auto [top, bottom] = ops::select_extremes(scores.to(device), 13, 30);
    CHECK(at::equal(top, ops::select_patches(scores.to(device), 13, 30, false)));
    CHECK(at::equal(bottom, ops::select_patches(scores.to(device), 13, 30, true)));
    CHECK(ops::select_patches(scores.slice(0, 0, 0).to(device), 13, 4, false).sizes() == at::IntArrayRef({0, 3, 4}));
  }
}

TEST_CASE(
    "kernel select_patches: NaN never, the infinite in order, a zero's sign no matter, maps smaller and as large as a "
    "block") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    const auto picks = [&](const at::Tensor& scores, int64_t patch, int64_t count, bool ascending) {
      return ops::select_patches(scores.to(device), patch, count, ascending).cpu();
    };
    const auto row = at::tensor({nan, -infinity, 0.0f, -0.0f, infinity, nan, 2.0f, -0.0f}).reshape({1, 8});
    CHECK(at::equal(picks(row, 0, 8, false), at::tensor({4, 6, 2, 3, 7, 1, -1, -1}, at::kLong)));
    CHECK(at::equal(picks(row, 0, 8, true), at::tensor({1, 2, 3, 7, 6, 4, -1, -1}, at::kLong)));
    CHECK(at::equal(picks(at::full({3, 40}, nan), 2, 2, false), at::tensor({-1, -1}, at::kLong)));
    for (const int64_t side :
         {1, 5, 31, 32, 33}) {  // of 1024 threads none, some, all but a few, all have a place, some have two
      CAPTURE(side);
      auto scores = at::zeros({2, side, side});
      scores[0][side - 1][side - 1] = 1;  // the last place
      const auto got = picks(scores, side, 2, false);
      CHECK(at::equal(got,
                      at::tensor({side * side - 1, int64_t{-1}, int64_t{0}, int64_t{-1}}, at::kLong).reshape({2, 2})));
      CHECK(at::equal(picks(scores, side, 1, false), got.slice(1, 0, 1)));  // as many as are asked for
    }
  }
}

TEST_CASE("kernels refuse shapes that do not fit") {
  const auto x = at::zeros({2, 3, 4, 5}), one = at::zeros({2});
  CHECK(test::error_code([&] { ops::add_noise(x, at::zeros({2, 3, 4, 4}), one, one, at::kFloat); }) == code::kInternal);
  CHECK(test::error_code([&] { ops::add_noise(x, x, at::zeros({3}), one, at::kFloat); }) == code::kInternal);
  CHECK(test::error_code([&] { ops::add_noise(x, x, one, one, at::kDouble); }) == code::kInternal);
  CHECK(test::error_code([&] {
          ops::loss_difference(x, x, x, one, one, at::zeros({2, 1}, at::kLong), at::zeros({2, 1, 2}), 1);
        }) == code::kInternal);
}
