// What must not change typicality: the batch, the company of other images, graphs, ranges of samples; and what follows
// from its losses.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "devices.h"
#include "models/denoiser_graph.h"
#include "support.h"
#include "typicality_support.h"

using namespace diffmine;
using namespace diffmine::testing;

TEST_CASE("results do not depend on the batch") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  const auto in = labels_against_null(3, 16, 24);
  const auto reference = score_typicality(model, conditions, in, small(5, 4));  // one row per pass
  for (const int64_t batch : {1, 13, 28, 1000}) {  // 1, 3 and 7 rows a pass (across images), all at once
    CAPTURE(batch);
    const auto got = score_typicality(model, conditions, in, small(5, batch));
    CHECK(got.timesteps == reference.timesteps);
    for (size_t b = 0; b < 3; ++b) {
      for (size_t m = 0; m < 3; ++m) {
        const auto &a = got.outputs[b][m], &r = reference.outputs[b][m];
        CHECK(excess(a.scores, r.scores, 5e-6, 0) <= 1);
        CHECK(excess(a.standard_errors, r.standard_errors, 5e-6, 0) <= 1);
        CHECK(same_boxes(a.random, r.random));
      }
    }
  }
}

TEST_CASE("an image scores the same alone and among others, with its own conditions") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  auto in = labels_against_null(3, 16, 24);
  in.conditions = at::stack({at::arange(4), (at::arange(4) + 1) % 4, (at::arange(4) + 2) % 4});
  const auto all = score_typicality(model, conditions, in, small(4, 24));
  for (int64_t b = 0; b < 3; ++b) {
    CAPTURE(b);
    TypicalityInput one = in;
    const auto only = [&](const at::Tensor& t) { return t.slice(0, b, b + 1); };
    one.latents = only(in.latents), one.conditions = only(in.conditions), one.subjects = only(in.subjects),
    one.weights = only(in.weights);
    one.keys = {in.keys[b]};
    const auto alone = score_typicality(model, conditions, one, small(4, 24));
    for (size_t m = 0; m < 3; ++m) {
      CHECK(excess(alone.outputs[0][m].scores, all.outputs[b][m].scores, 5e-6, 0) <= 1);
      CHECK(same_boxes(alone.outputs[0][m].random, all.outputs[b][m].random));
    }
  }
}

TEST_CASE("rivals that take turns average to the contrast with all of them") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  // Every sample's noise and timestep three times, each time against another of the labels 1 ... 3.
  auto turns = labels_against_null(2, 16, 24), all = turns;
  const auto noises = at::randn({4, 12, 8, 12});
  const auto timesteps = at::tensor({130, 640, 310, 480}, at::kLong);
  all.noises = noises, all.timesteps = timesteps;
  all.subjects = at::zeros({2, 1}, at::kLong);
  all.weights = at::tensor({0.0, 1.0 / 3, 1.0 / 3, 1.0 / 3}, at::kFloat).expand({2, 1, 4});
  turns.noises = noises.repeat_interleave(3, 0), turns.timesteps = timesteps.repeat_interleave(3);
  turns.subjects = all.subjects;
  turns.weights = at::tensor({0.0, 1.0}, at::kFloat).expand({2, 1, 2});
  turns.conditions = at::stack({at::zeros({12}, at::kLong), at::tensor({1, 2, 3}, at::kLong).repeat({4})}, 1)
                         .unsqueeze(0)
                         .expand({2, 12, 2});
  const auto want = score_typicality(model, conditions, all, small(4, 8)),
             got = score_typicality(model, conditions, turns, small(12, 8));
  for (size_t b = 0; b < 2; ++b) {
    CHECK(excess(got.outputs[b][0].map, want.outputs[b][0].map, 2e-6, 1e-4) <= 1);
    CHECK(excess(got.outputs[b][0].scores, want.outputs[b][0].scores, 2e-6, 1e-4) <= 1);
  }
}

TEST_CASE("stated standard errors of a model are its spread over 50 seeds, also where rivals take turns") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  for (const auto sampler : {Sampler::kStratified, Sampler::kReference}) {
    for (const bool turns : {false, true}) {
      if (!test::nightly() && (sampler != Sampler::kStratified || !turns)) continue;
      CAPTURE(static_cast<int>(sampler));
      CAPTURE(turns);
      double spread = 0, stated = 0;
      for (uint64_t image = 0; image < 8; ++image) {
        auto in = labels_against_null(1, 16, 24);
        in.subjects = at::zeros({1, 1}, at::kLong);
        in.weights = at::tensor({0.0, 1.0}, at::kFloat).view({1, 1, 2});
        std::vector<at::Tensor> scores;
        for (uint64_t seed = 0; seed < 50; ++seed) {
          auto options = small(16, 64);
          options.keep_losses = false;
          options.sampler = sampler;
          options.seed = 1000 * image + seed;  // noise of its own, so that images count as independent
          std::vector<at::Tensor> rivals;
          for (int64_t n = 0; n < 16; n += 3)
            rivals.push_back(turns ? at::randperm(3, at::kLong) + 1 : at::full({3}, 3, at::kLong));
          const auto order = at::cat(rivals).slice(0, 0, 16);
          in.conditions = at::stack({at::zeros_like(order), order}, 1).unsqueeze(0);
          const auto got = score_typicality(model, conditions, in, options);
          scores.push_back(got.outputs[0][0].scores);
          stated += got.outputs[0][0].standard_errors.square().mean().item<double>() / 50;
        }
        spread += at::stack(scores).var(0, /*unbiased=*/true).mean().item<double>();
      }
      const double ratio = std::sqrt(spread / stated);
      MESSAGE("spread over seeds / stated: " << ratio);
      CHECK(ratio > 0.95);
      CHECK(ratio < 1.05);
    }
  }
}

TEST_CASE("sample weights multiply the differences; weights of one change no bit") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  const auto in = labels_against_null(2, 16, 24);
  auto options = small(4, 8);
  options.keep_differences = true;
  const auto plain = score_typicality(model, conditions, in, options);
  options.sample_weights = {1, 1, 1, 1};
  const auto ones = score_typicality(model, conditions, in, options);
  options.sample_weights = {0.5, 2, 0, 1.5};
  const auto weighted = score_typicality(model, conditions, in, options);
  CHECK(at::equal(ones.differences, plain.differences));
  const auto scaled =
      plain.differences * at::tensor(options.sample_weights, at::kFloat).reshape({1, 4, 1, 1, 1});  // [B, N, M, h', w']
  CHECK(at::equal(weighted.differences, scaled));
  for (size_t b = 0; b < 2; ++b) {
    for (size_t m = 0; m < 3; ++m) {
      CHECK(at::equal(ones.outputs[b][m].map, plain.outputs[b][m].map));
      CHECK(at::equal(ones.outputs[b][m].scores, plain.outputs[b][m].scores));
      CHECK(at::equal(ones.outputs[b][m].standard_errors, plain.outputs[b][m].standard_errors));
      CHECK(excess(weighted.outputs[b][m].map,
                   scaled[static_cast<int64_t>(b)].select(1, static_cast<int64_t>(m)).mean(0), 1e-6, 1e-5) <= 1);
    }
  }
}

TEST_CASE("a range of samples after earlier ones gives what one call over all gives") {
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    const auto model = tiny_fold(device);
    const auto conditions = model.denoiser->prepare(at::arange(4));
    auto in = labels_against_null(2, 16, 24);
    in.latents = in.latents.to(device);
    in.weights = at::tensor({0.0, 1.0, 1.0, 0.0}, at::kFloat).view({2, 1, 2});
    in.subjects = at::tensor({0, 1}, at::kLong).view({2, 1});
    in.conditions = at::randint(4, {2, 16, 2}, at::kLong);  // conditions of its own in every sample
    auto options = small(16, 8);  // four samples per pass, whatever the range: every pass has the same samples
    options.keep_differences = true;
    options.sample_weights.assign(16, 1.0);
    options.sample_weights[2] = 0.25, options.sample_weights[9] = 1.75;
    const auto whole = score_typicality(model, conditions, in, options);
    CHECK(whole.losses.size(1) == 16);
    options.sample_end = 4;
    const auto first = score_typicality(model, conditions, in, options);
    options.sample_begin = 4, options.sample_end = 12;
    auto then = in;
    then.earlier = first.differences;
    const auto second = score_typicality(model, conditions, then, options);
    options.sample_begin = 12, options.sample_end.reset();
    then.earlier = at::cat({first.differences, second.differences}, 1);
    const auto third = score_typicality(model, conditions, then, options);
    const auto parts = at::cat({*then.earlier, third.differences}, 1);
    const auto same = [&](const at::Tensor& a, const at::Tensor& b) {
      return device.is_cpu() ? at::equal(a, b) : excess(a, b, 1e-6, 1e-6) <= 1;
    };
    CHECK(same(parts, whole.differences));
    CHECK(third.timesteps == whole.timesteps);
    CHECK(third.losses.sizes() == at::IntArrayRef({2, 4, 2, 16, 24}));
    for (size_t b = 0; b < 2; ++b) {
      const auto &got = third.outputs[b][0], &want = whole.outputs[b][0];
      CHECK(same(got.map, want.map));
      CHECK(same(got.scores, want.scores));
      CHECK(same(got.standard_errors, want.standard_errors));
      CHECK(got.mean == doctest::Approx(want.mean));
      CHECK(same_boxes(got.top, want.top));
      CHECK(same_boxes(got.random, want.random));
      // A prefix is what its samples alone give.
      const auto d = whole.differences[static_cast<int64_t>(b)].slice(0, 0, 4).select(1, 0);
      CHECK(excess(first.outputs[b][0].map, d.mean(0), 1e-6, 1e-5) <= 1);
    }
  }
}

TEST_CASE("maps, scores and standard errors follow from the losses, for any contrast") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  auto in = labels_against_null(2, 16, 24);
  in.subjects = at::stack({at::arange(3), at::arange(3) + 1});
  in.weights = at::full({2, 3, 4}, 1.0 / 3);  // against the mean of the other conditions
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t m = 0; m < 3; ++m) in.weights[b][m][in.subjects[b][m].item<int64_t>()] = 0;
  }
  auto options = small(6, 9);
  options.sampler = Sampler::kReference;  // independent timesteps: the standard error is s / sqrt(N)
  const auto got = score_typicality(model, conditions, in, options);
  const auto losses = got.losses.to(at::kDouble);  // [B, N, K, h', w']
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t m = 0; m < 3; ++m) {
      const auto& out = got.outputs[b][m];
      const auto own = losses[b].select(1, in.subjects[b][m].item<int64_t>());  // [N, h', w']
      const auto difference = (losses[b] * in.weights[b][m].to(at::kDouble).reshape({1, 4, 1, 1})).sum(1) - own;
      CHECK(excess(out.map, difference.mean(0), 2e-6, 1e-4) <= 1);
      CHECK(out.mean == doctest::Approx(difference.mean().item<double>()).epsilon(1e-4));
      const auto samples =
          patch_scores(difference.to(at::kFloat), patch_operator(16, 16, 7), patch_operator(24, 24, 7)).to(at::kDouble);
      CHECK(excess(out.scores, samples.mean(0), 2e-6, 1e-4) <= 1);
      CHECK(excess(out.standard_errors, samples.std(0, true) / std::sqrt(6.0), 2e-6, 1e-4) <= 1);
      for (const auto* list : {&out.top, &out.bottom, &out.random}) {
        for (const auto& p : *list) {
          CHECK(p.score == out.scores[p.row][p.column].item<float>());
          CHECK(p.standard_error == out.standard_errors[p.row][p.column].item<float>());
        }
      }
      CHECK(out.top[0].score == out.scores.max().item<float>());
      CHECK(out.bottom[0].score == out.scores.min().item<float>());
    }
  }
}

TEST_CASE("passes launched as graphs score as those launched op by op, whatever conditions come and go") {
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    for (const auto dtype : {at::kFloat, device.is_cpu() ? at::kBFloat16 : at::kHalf}) {
      CAPTURE(std::string(c10::toString(dtype)));
      const auto plain = tiny_fold(device, dtype);
      auto model = plain;
      model.graphs = std::make_shared<DenoiserGraphs>(model.denoiser);
      for (const int64_t shift : {0, 1}) {
        CAPTURE(shift);
        const auto conditions =
            model.denoiser->prepare((at::arange(4) + shift) % 4);  // the graphs of the first are dropped with them
        for (const int64_t width : {24, 16}) {
          auto in = labels_against_null(3, 16, width);
          in.latents = in.latents.to(device);
          auto options = small(7, 8);  // two inputs per pass: ten of the same shape, and one of another
          options.keep_losses = false;
          const auto want = score_typicality(plain, conditions, in, options),
                     got = score_typicality(model, conditions, in, options);
          for (size_t b = 0; b < 3; ++b) {
            CHECK(excess(got.outputs[b][0].scores, want.outputs[b][0].scores, 1e-6, 0) <= 1);
            CHECK(same_boxes(got.outputs[b][0].top, want.outputs[b][0].top));
          }
        }
        CHECK(model.graphs->captured() ==
              (device.is_cuda() ? 2 : 0));  // where capturing fails, scores are right all the same
      }
      model.graphs->clear();
      CHECK(model.graphs->captured() == 0);
    }
  }
}

TEST_CASE("a v-prediction model is scored by its velocity") {
  auto model = tiny_fold();
  auto config = linear_schedule();
  config.prediction = Prediction::kVelocity;
  model.schedule = std::make_shared<Schedule>(config);
  const auto conditions = model.denoiser->prepare(at::arange(4));
  auto in = labels_against_null(1, 16, 16);
  in.noises = at::randn({1, 2, 12, 8, 8}), in.timesteps = at::tensor({120, 640}, at::kLong);
  const auto got = score_typicality(model, conditions, in, small(2, 8));
  const auto x0 = in.latents.expand({2, 12, 8, 8}), noise = (*in.noises)[0];
  const auto e = model.denoiser->forward(model.schedule->add_noise(x0, noise, *in.timesteps), *in.timesteps,
                                         *conditions, at::arange(8) % 4, 4);
  const auto target = model.schedule->velocity(x0, noise, *in.timesteps);
  const auto losses = model.channel_mean((e.unflatten(0, {2, 4}) - target.unsqueeze(1)).square());
  CHECK(excess(got.losses[0], losses, 1e-5, 1e-5) <= 1);
  CHECK(excess(got.outputs[0][1].map, (losses.select(1, 3) - losses.select(1, 1)).mean(0), 5e-6, 1e-4) <= 1);
}

TEST_CASE("one sample has no standard error, and patch 0 makes maps alone") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  const auto in = labels_against_null(1, 16, 16);
  const auto one = score_typicality(model, conditions, in, small(1, 8));
  CHECK(std::isnan(one.outputs[0][0].top[0].standard_error));
  auto options = small(2, 8);
  options.patch = 0, options.keep_losses = false;
  const auto maps = score_typicality(model, conditions, in, options);
  CHECK(maps.outputs[0][0].map.sizes() == at::IntArrayRef({16, 16}));
  CHECK(maps.outputs[0][0].top.empty());
  CHECK(!maps.outputs[0][0].scores.defined());
  CHECK(!maps.losses.defined());
}

TEST_CASE("progress counts UNet calls; cancelling stops before the next pass") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  const auto in = labels_against_null(2, 16, 16);
  CancelToken token;
  std::vector<int64_t> done;
  Context context{&token, [&](const Progress& p) {
                    CHECK(p.stage == "score");
                    CHECK(p.total == 2 * 3 * 4);
                    done.push_back(p.done);
                  }};
  score_typicality(model, conditions, in, small(3, 8), context);
  CHECK(done == std::vector<int64_t>{8, 16, 24});
  context.on_progress = [&](const Progress&) { token.cancel(); };
  CHECK(test::error_code([&] { score_typicality(model, conditions, in, small(3, 8), context); }) == code::kCancelled);
}

TEST_CASE("NaN names its image, and what does not fit is refused") {
  const auto model = tiny_fold();
  const auto conditions = model.denoiser->prepare(at::arange(4));
  const auto in = labels_against_null(2, 16, 16);
  auto bad = in;
  bad.latents = in.latents.clone();
  bad.latents[1][0][3][3] = std::numeric_limits<float>::quiet_NaN();
  const auto error = test::error_of([&] { score_typicality(model, conditions, bad, small(2, 64)); });
  CHECK(error.code() == code::kNumerics);
  CHECK(std::string(error.what()).find("image 1") != std::string::npos);

  const auto refused = [&](auto change) {
    TypicalityInput input = in;
    TypicalityOptions options = small(2, 8);
    change(input, options);
    return test::error_code([&] { score_typicality(model, conditions, input, options); }) == code::kInvalidArgument;
  };
  CHECK(refused([](auto& i, auto&) { i.latents = at::zeros({2, 4, 8, 8}); }));
  CHECK(refused([](auto& i, auto&) { i.keys = {1}; }));
  CHECK(refused([](auto& i, auto&) { i.subjects = at::full({2, 3}, 4, at::kLong); }));
  CHECK(refused([](auto& i, auto&) { i.weights = at::zeros({2, 3, 5}); }));
  CHECK(refused([](auto& i, auto&) { i.noises = at::zeros({3, 12, 8, 8}); }));
  CHECK(refused([](auto& i, auto&) { i.timesteps = at::full({2}, 1000, at::kLong); }));
  CHECK(refused([](auto&, auto& o) { o.patch = 17; }));
  CHECK(refused([](auto&, auto& o) { o.samples = 0; }));
  CHECK(refused([](auto&, auto& o) { o.t_begin = 700; }));
  CHECK(refused([](auto& i, auto&) { i.conditions = at::zeros({2, 3, 4}, at::kLong); }));
  CHECK(refused([](auto&, auto& o) { o.sample_weights = {1}; }));
  CHECK(refused([](auto&, auto& o) { o.sample_weights = {1, -1}; }));
  CHECK(refused([](auto&, auto& o) { o.sample_end = 3; }));
  CHECK(refused([](auto&, auto& o) { o.sample_end = 0; }));
  CHECK(refused([](auto&, auto& o) { o.sample_begin = 1; }));  // without the earlier ones
  CHECK(refused([](auto& i, auto& o) { o.sample_begin = 1, i.earlier = at::zeros({2, 1, 3, 8, 8}); }));
}

TEST_CASE("images become what the UNet denoises, cut where it cannot take their sides") {
  const auto model = tiny_fold();
  const auto images = at::randint(256, {2, 19, 30, 3}, at::kByte);
  const int64_t step = 2 * model.denoiser->size_multiple();
  const auto x = model.encode_images(images);
  const int64_t height = 19 / step * step, width = 30 / step * step;
  const auto want = at::pixel_unshuffle(
      images.slice(1, 0, height).slice(2, 0, width).permute({0, 3, 1, 2}).to(at::kFloat) / 127.5 - 1, 2);
  CHECK(excess(x, want, 1e-6, 0) <= 1);
  CHECK(test::error_code([&] { model.encode_images(at::zeros({1, 1, 30, 3}, at::kByte)); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { model.encode_images(at::zeros({1, 32, 32, 4}, at::kByte)); }) == code::kInvalidArgument);
  // A latent model's odd sizes are left to its VAE: 66 x 90 px are 8 x 11 latents.
  CHECK(tiny_sd15().encode_images(at::zeros({1, 66, 90, 3}, at::kByte)).sizes() == at::IntArrayRef({1, 4, 8, 11}));
}
