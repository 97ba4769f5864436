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
#include <ATen/ops/zeros_like.h>
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

TEST_CASE("kernel loss_difference: the mean over channels of sum_k w_k (L_k - L_s), unfolded, and its running mean") {
  struct Case {
    int64_t samples, conditions, outputs, channels, fold, h, w;
  };
  for (const Case& c :
       {Case{7, 2, 1, 4, 1, 5, 7}, Case{2, 5, 4, 3, 1, 5, 7}, Case{5, 4, 3, 12, 2, 5, 7}, Case{1, 2, 2, 9, 3, 5, 7},
        Case{5, 4, 3, 32, 4, 5, 7}, Case{3, 3, 1, 3, 1, 8, 8}, Case{2, 2, 2, 4, 1, 33, 2}}) {
    CAPTURE(c.fold);
    const int64_t n = c.samples, k = c.conditions, m = c.outputs;
    const auto e = at::randn({n * k, c.channels, c.h, c.w}), x = at::randn({c.channels, c.h, c.w}),
               noise = at::randn({n, c.channels, c.h, c.w});
    const auto target_x = at::randn({n}), target_noise = at::randn({n}), scale = at::rand({n}) * 2,
               weight = at::randn({m, k});
    weight.select(1, 0).zero_();
    const auto subject = at::randint(k, {m}, at::kLong);
    const auto d = [](const at::Tensor& t) { return t.to(at::kDouble); };
    const auto by_sample = [&](const at::Tensor& v) { return d(v).reshape({-1, 1, 1, 1}); };
    const auto target = by_sample(target_x) * d(x) + by_sample(target_noise) * d(noise);
    const auto error = d(e).unflatten(0, {n, k}) - target.unsqueeze(1);
    for (const auto& [kind, of_channels] : {std::pair{Loss::kSquared, error.square()},
                                            {Loss::kAbsolute, error.abs()},
                                            {Loss::kHuber, ((error.square() + 0.01).sqrt() - 0.1) * 0.2}}) {
      CAPTURE(static_cast<int>(kind));
      auto loss = c.fold > 1 ? at::pixel_shuffle(of_channels, c.fold) : of_channels;
      loss = loss.mean(2);  // [n, K, f h, f w]
      std::vector<at::Tensor> maps;
      for (int64_t i = 0; i < m; ++i) {
        const auto gaps = loss - loss.select(1, subject[i].item<int64_t>()).unsqueeze(1);
        maps.push_back((gaps * d(weight)[i].reshape({1, -1, 1, 1})).sum(1));
      }
      const auto want = at::stack(maps, 1) * by_sample(scale);  // [n, M, f h, f w]
      for (const auto& device : devices()) {
        CAPTURE(device.str());
        const auto on = [&](const at::Tensor& t) { return t.to(device); };
        at::Tensor first;
        for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
          auto mean = at::zeros(want.sizes().slice(1), at::TensorOptions(device));
          const auto run = [&](int64_t begin, int64_t end, at::Tensor differences) {
            const auto of = [&](const at::Tensor& t) { return on(t).slice(0, begin, end); };
            ops::loss_difference(on(e).contiguous(format).slice(0, begin * k, end * k), on(x), of(noise), of(target_x),
                                 of(target_noise), of(scale), on(subject), on(weight), c.fold, begin, mean, differences,
                                 kind);
          };
          const int64_t half = n / 2;  // in two runs, the second after the first
          const auto differences = at::empty(want.slice(0, half, n).sizes(), at::TensorOptions(device));
          run(0, half, {});
          run(half, n, differences);
          CHECK(test::close(differences.cpu(), want.slice(0, half, n), 4e-5, 2e-5));
          CHECK(test::close(mean.cpu(), want.mean(0), 4e-5, 2e-5));
          if (first.defined()) CHECK(at::equal(mean, first));  // whatever the layout of e
          first = mean;
        }
      }
    }
  }
}

TEST_CASE("kernel loss_difference does not cancel where predictions nearly agree") {
  const auto e = at::randn({4, 9, 9}), noise = at::randn({1, 4, 9, 9}), zero = at::zeros({1});
  const auto both = at::stack({e, e + at::randn({4, 9, 9}) * 1e-5});
  const auto error = both.to(at::kDouble) - noise.to(at::kDouble);
  for (const auto& [loss, of] : {std::pair{Loss::kSquared, error.square()},
                                 {Loss::kAbsolute, error.abs()},
                                 {Loss::kHuber, ((error.square() + 0.01).sqrt() - 0.1) * 0.2}}) {
    CAPTURE(static_cast<int>(loss));
    const auto want = (of[1] - of[0]).mean(0);
    for (const auto& device : devices()) {
      const auto on = [&](const at::Tensor& t) { return t.to(device); };
      auto mean = at::zeros({1, 9, 9}, at::TensorOptions(device));
      ops::loss_difference(on(both), on(at::zeros_like(e)), on(noise), on(zero), on(zero + 1), on(zero + 1),
                           on(at::zeros({1}, at::kLong)), on(at::tensor({0.0f, 1.0f}).reshape({1, 2})), 1, 0, mean, {},
                           loss);
      CHECK(test::close(mean.cpu()[0], want, 1e-11, 1e-5));  // losses in fp32 would be wrong by 1e-7
    }
  }
}

TEST_CASE("kernel loss_difference: a loss gap is zero where both predictions are right") {
  for (const Loss loss : {Loss::kSquared, Loss::kAbsolute, Loss::kHuber}) CHECK(loss_gap(loss, 0.5f, 0.5f, 0.5f) == 0);
}

TEST_CASE("kernel update_mean: the mean of what came before and comes now") {
  const auto samples = at::randn({23, 9, 577}) + 3;
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    auto mean = at::zeros({9, 577}, at::TensorOptions(device));
    ops::update_mean(samples.slice(0, 0, 10).to(device), 0, mean);
    ops::update_mean(samples.slice(0, 10, 23).to(device), 10, mean);
    CHECK(test::close(mean.cpu(), samples.to(at::kDouble).mean(0), 3e-6, 0));
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

TEST_CASE("kernel arguments: shapes that do not fit are refused") {
  const auto x = at::zeros({2, 3, 4, 5}), one = at::zeros({2});
  CHECK(test::error_code([&] { ops::add_noise(x, at::zeros({2, 3, 4, 4}), one, one, at::kFloat); }) == code::kInternal);
  CHECK(test::error_code([&] { ops::add_noise(x, x, at::zeros({3}), one, at::kFloat); }) == code::kInternal);
  CHECK(test::error_code([&] { ops::add_noise(x, x, one, one, at::kDouble); }) == code::kInternal);
  CHECK(test::error_code([&] {
          auto mean = at::zeros({1, 4, 4});  // not as wide as the maps
          ops::loss_difference(x, x[0], x, one, one, one, at::zeros({1}, at::kLong), at::zeros({1, 1}), 1, 0, mean);
        }) == code::kInternal);
  CHECK(test::error_code([&] {
          auto mean = at::zeros({3, 4, 4});
          ops::update_mean(x, 0, mean);
        }) == code::kInternal);
}
