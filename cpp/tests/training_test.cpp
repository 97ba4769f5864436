// Training: the reference's losses, gradients and parameters; gradients against differences; exact resumption;
// formulas.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include "support.h"
#include "tiny_models.h"
#include "training/loss.h"
#include "training_support.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

const std::vector<std::string> kTextNames{"conv_in.weight",
                                          "conv_in.bias",
                                          "time_embedding.linear_1.weight",
                                          "time_embedding.linear_2.bias",
                                          "down_blocks.0.resnets.0.conv1.weight",
                                          "down_blocks.0.resnets.0.norm1.weight",
                                          "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
                                          "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                                          "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj.weight",
                                          "down_blocks.1.downsamplers.0.conv.weight",
                                          "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight",
                                          "mid_block.attentions.0.proj_in.weight",
                                          "mid_block.resnets.0.time_emb_proj.weight",
                                          "up_blocks.0.resnets.0.conv_shortcut.weight",
                                          "up_blocks.1.upsamplers.0.conv.bias",
                                          "up_blocks.2.resnets.0.norm1.bias",
                                          "up_blocks.2.attentions.0.norm.weight",
                                          "conv_norm_out.weight",
                                          "conv_out.weight",
                                          "conv_out.bias"};
const std::vector<std::string> kClassNames{"conv_in.weight",
                                           "conv_in.bias",
                                           "time_embedding.linear_1.weight",
                                           "time_embedding.linear_2.bias",
                                           "class_embedding.weight",
                                           "down_blocks.0.resnets.0.conv1.weight",
                                           "down_blocks.0.resnets.0.norm1.weight",
                                           "down_blocks.1.downsamplers.0.conv.weight",
                                           "mid_block.resnets.0.time_emb_proj.weight",
                                           "up_blocks.0.resnets.0.conv_shortcut.weight",
                                           "up_blocks.1.upsamplers.0.conv.bias",
                                           "up_blocks.2.resnets.0.norm1.bias",
                                           "conv_norm_out.weight",
                                           "conv_out.weight",
                                           "conv_out.bias"};

}  // namespace

TEST_CASE("three AdamW steps equal the reference: losses, gradients, parameters, with and without clipping") {
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    for (const std::string id : {"train", "train_clip"}) {
      CAPTURE(variant);
      CAPTURE(id);
      const auto golden = golden_of(variant);
      auto options = fast();
      if (id == "train_clip") options.max_gradient_norm = 1;
      Trainer trainer = trainer_of(variant, options);
      const auto batch = golden_batch(variant, id);
      const double atol = 2e-4, rtol = 1e-3;  // the manifest's
      std::vector<float> losses, norms, first_norms;
      for (int step = 0; step < 3; ++step) {
        trainer.accumulate(batch, batch.x0.size(0));
        if (step == 0) {
          for (const auto& name : variant == "tiny-fold" ? kClassNames : kTextNames) {
            first_norms.push_back(trainer.tensor(Trainer::Which::kGradients, name).norm().item<float>());
          }
          for (const std::string name : {"conv_out.bias", "conv_in.bias"}) {
            CHECK(excess(trainer.tensor(Trainer::Which::kGradients, name), golden->tensor(id + ".out.grad." + name),
                         atol, rtol) <= 1);
          }
        }
        const auto done = trainer.update();
        CHECK(done.step == step + 1);
        losses.push_back(static_cast<float>(done.loss));
        norms.push_back(static_cast<float>(done.gradient_norm));
      }
      CHECK(excess(at::tensor(losses), golden->tensor(id + ".out.loss"), atol, rtol) <= 1);
      CHECK(excess(at::tensor(norms), golden->tensor(id + ".out.total_grad_norm"), atol, rtol) <= 1);
      CHECK(excess(at::tensor(first_norms), golden->tensor(id + ".out.grad_norms"), atol, rtol) <= 1);
      int compared = 0;
      const std::string prefix = id + ".out.after3.";
      for (const auto& [name, info] : golden->tensors()) {
        if (!name.starts_with(prefix)) continue;
        CAPTURE(name);
        CHECK(excess(trainer.tensor(Trainer::Which::kWeights, name.substr(prefix.size())), golden->tensor(name), atol,
                     rtol) <= 1);
        ++compared;
      }
      CHECK(compared == 5);
    }
  }
}

TEST_CASE("a trainable UNet computes what the other does, and names every stored tensor in its stored shape") {
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    CAPTURE(variant);
    const auto plain = load_tiny_unet(variant, variant == "tiny-fold" ? tiny_fold_unet() : tiny_sd15_unet());
    const auto unet = trainable(variant);
    const auto batch = golden_batch(variant, "train");
    const auto conditions = golden_conditions(variant);
    const auto want = plain.forward(batch.x0, batch.timesteps, *plain.prepare(conditions), batch.conditions);
    const auto got = unet->forward(batch.x0, batch.timesteps, *unet->prepare(conditions), batch.conditions);
    CHECK(got.requires_grad());
    CHECK_FALSE(want.requires_grad());
    CHECK(excess(got.detach(), want, 2e-5, 2e-5) <= 1);

    CHECK(plain.parameters().empty());
    const auto file = SafetensorsFile::open(golden_path(variant + "/unet/diffusion_pytorch_model.safetensors"));
    REQUIRE(unet->parameters().size() == file->tensors().size());
    for (const auto& [name, tensor] : unet->parameters()) {
      CAPTURE(name);
      REQUIRE(file->has(name));
      CHECK(tensor.is_leaf());
      CHECK(at::equal(tensor.detach(), file->tensor(name).to(at::kFloat)));
    }
  }
}

TEST_CASE("the gradient along itself is the loss's slope") {
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    Trainer trainer = trainer_of(variant, fast());
    const auto batch = rows(golden_batch(variant, "train"), 0, 2);
    trainer.accumulate(batch, 2);
    int checked = 0, large = 0;
    for (const auto& [name, parameter] : trainer.denoiser().parameters()) {
      const auto gradient = trainer.tensor(Trainer::Which::kGradients, name);
      REQUIRE(gradient.defined());
      const double norm = gradient.norm().item<double>();
      if (norm < 0.02 || ++large % 5)
        continue;  // rounding in fp32 would drown the difference; a fifth of them takes a second
      CAPTURE(variant);
      CAPTURE(name);
      const at::NoGradGuard no_graph;
      const double h = 5e-3;
      const auto direction = gradient / norm, before = parameter.detach().clone();
      const auto loss_at = [&](double step) {
        parameter.copy_(before + direction * step);
        return trainer.evaluate(batch, 0);
      };
      const double slope = (loss_at(h) - loss_at(-h)) / (2 * h);
      parameter.copy_(before);
      CHECK(slope == doctest::Approx(norm).epsilon(0.03));
      ++checked;
    }
    CHECK(checked >= 6);
  }
}

TEST_CASE("a resumed training equals an undisturbed one, bit by bit") {
  const test::TemporaryFolder folder;
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    CAPTURE(variant);
    auto options = fast();
    options.seed = 7;
    options.rate.schedule = LearningRateSchedule::kCosine;
    options.rate.warmup = 2;
    options.rate.total = 6;
    options.max_gradient_norm = 1;
    options.ema_decay = 0.9;
    options.min_snr = 5;
    const auto batch = drawn_batch(variant);
    const auto step = [&](Trainer& trainer) {  // in two parts
      trainer.accumulate(rows(batch, 0, 1), 4);
      trainer.accumulate(rows(batch, 1, 4), 4);
      return trainer.update();
    };
    Trainer whole = trainer_of(variant, options);
    std::vector<double> losses;
    for (int i = 0; i < 6; ++i) losses.push_back(step(whole).loss);

    const std::string path = folder.file(variant + ".safetensors");
    {
      Trainer first = trainer_of(variant, options);
      for (int i = 0; i < 3; ++i) CHECK(step(first).loss == losses[i]);
      first.save(path);
    }
    Trainer second = trainer_of(variant, options);
    second.load(path);
    CHECK(second.steps() == 3);
    for (int i = 3; i < 6; ++i) {
      const auto done = step(second);
      CHECK(done.step == i + 1);
      CHECK(done.loss == losses[i]);
    }
    CHECK(same(whole, second, Trainer::Which::kWeights));
    CHECK(same(whole, second, Trainer::Which::kAverages));
    whole.save(folder.file("a"));
    second.save(folder.file("b"));
    const auto a = SafetensorsFile::open(folder.file("a")), b = SafetensorsFile::open(folder.file("b"));
    for (const auto& [name, info] : a->tensors()) CHECK(at::equal(a->tensor(name), b->tensor(name)));  // moments too

    // What is exported loads as a plain UNet and gives the average's numbers.
    whole.export_weights(folder.file("unet"), true, at::kFloat);
    WeightStore weights({folder.file("unet")});
    const UNet loaded(variant == "tiny-fold" ? tiny_fold_unet() : tiny_sd15_unet(), weights, at::kCPU, at::kFloat);
    CHECK(at::equal(SafetensorsFile::open(folder.file("unet"))->tensor("conv_in.weight"),
                    whole.tensor(Trainer::Which::kAverages, "conv_in.weight")));
  }
}

TEST_CASE("a step in parts draws the same noise and timesteps and equals a step in one") {
  const auto batch = drawn_batch("tiny-fold");
  Trainer one = trainer_of("tiny-fold", fast()), parts = trainer_of("tiny-fold", fast());
  const auto whole = one.step(batch);
  for (int64_t i = 0; i < 4; ++i) parts.accumulate(rows(batch, i, i + 1), 4);
  const auto sum = parts.update();
  CHECK(sum.loss == doctest::Approx(whole.loss).epsilon(1e-5));
  CHECK(sum.gradient_norm == doctest::Approx(whole.gradient_norm).epsilon(1e-4));

  // Another step or another seed draws other noise.
  auto frozen = fast(0);
  frozen.adamw.weight_decay = 0;
  Trainer still = trainer_of("tiny-fold", frozen);
  const double first = still.step(batch).loss, second = still.step(batch).loss;
  CHECK(first == doctest::Approx(whole.loss).epsilon(1e-5));
  CHECK(std::abs(first - second) > 1e-4);
  frozen.seed = 1;
  CHECK(std::abs(trainer_of("tiny-fold", frozen).step(batch).loss - first) > 1e-4);
  CHECK(still.evaluate(batch, 3) == still.evaluate(batch, 3));
  CHECK(std::abs(still.evaluate(batch, 3) - still.evaluate(batch, 4)) > 1e-4);
}

TEST_CASE(
    "predictions and losses of the average are those of a UNet with the exported averages; the weights are as before") {
  const test::TemporaryFolder folder;
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    CAPTURE(variant);
    auto options = fast(1e-2);
    options.ema_decay = 0.5;
    options.wide_fraction = 0.25;
    options.t_begin = 100;
    options.t_end = 300;
    Trainer trainer = trainer_of(variant, options), undisturbed = trainer_of(variant, options);
    const auto batch = drawn_batch(variant);
    for (int i = 0; i < 2; ++i) trainer.step(batch);
    const auto t = at::tensor({3, 200, 500, 999}, at::kLong);
    const double loss = trainer.evaluate(batch, 5), averaged = trainer.evaluate(batch, 5, true);
    CHECK(std::abs(loss - averaged) > 1e-6);
    const auto output = trainer.predict(batch.x0, t, batch.conditions, true);

    trainer.export_weights(folder.file(variant), true, at::kFloat);
    WeightStore weights({folder.file(variant)});
    const UNet exported(variant == "tiny-fold" ? tiny_fold_unet() : tiny_sd15_unet(), weights, at::kCPU, at::kFloat);
    const auto prepared = exported.prepare(golden_conditions(variant));
    CHECK(excess(output, exported.forward(batch.x0, t, *prepared, batch.conditions), 5e-5, 5e-5) <= 1);
    CHECK(excess(output, trainer.predict(batch.x0, t, batch.conditions), 1e-4, 1e-4) > 1);

    // Neither a look at the average nor one that fails half-way leaves a trace.
    CHECK(test::error_code([&] { trainer.predict(batch.x0.slice(1, 0, 1), t, batch.conditions, true); }) ==
          code::kInvalidArgument);
    CHECK(trainer.evaluate(batch, 5) == loss);
    for (int i = 0; i < 3; ++i) undisturbed.step(batch);
    trainer.step(batch);
    CHECK(same(trainer, undisturbed, Trainer::Which::kWeights));
    CHECK(same(trainer, undisturbed, Trainer::Which::kAverages));
  }
  Trainer plain = trainer_of("tiny-fold", fast());
  const auto batch = drawn_batch("tiny-fold");
  CHECK(test::error_code([&] { plain.evaluate(batch, 5, true); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { plain.predict(batch.x0, at::zeros({4}, at::kLong), batch.conditions, true); }) ==
        code::kInvalidArgument);
  CHECK(test::error_code([&] { plain.predict(batch.x0, at::zeros({4}, at::kLong), batch.conditions + 4); }) ==
        code::kInvalidArgument);
}

TEST_CASE("with gradient checkpointing losses and gradients are the same, in fp32 and in bf16") {
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      CAPTURE(variant);
      CAPTURE(c10::toString(dtype));
      Trainer plain = trainer_of(variant, fast(), dtype);
      Trainer checkpointed(trainable(variant, dtype, {.trainable = true, .checkpointing = true}), schedule_of(variant),
                           golden_conditions(variant), fast());
      const auto batch = drawn_batch(variant);
      plain.accumulate(batch, 4);
      checkpointed.accumulate(batch, 4);
      double worst = 0;
      for (const auto& [name, tensor] : plain.denoiser().parameters()) {
        const auto want = plain.tensor(Trainer::Which::kGradients, name),
                   got = checkpointed.tensor(Trainer::Which::kGradients, name);
        REQUIRE(want.defined() == got.defined());
        if (want.defined())
          worst = std::max(worst, (got - want).norm().item<double>() /
                                      (want.norm().item<double>() + 1e-3));  // a key's bias has none
      }
      CHECK(worst <= (dtype == at::kFloat
                          ? 1e-5
                          : 0.05));  // sums of a tensor's gradients in another order: exact but for rounding
      CHECK(plain.update().loss == checkpointed.update().loss);
    }
  }
}

TEST_CASE("loss scaling: exact for fp32, skips and halves where gradients overflow, grows, and is part of the state") {
  const test::TemporaryFolder folder;
  const auto batch = drawn_batch("tiny-fold");
  auto options = fast();
  options.max_gradient_norm = 1;
  Trainer plain = trainer_of("tiny-fold", options);
  options.loss_scale = LossScale::kStart;
  Trainer scaled = trainer_of("tiny-fold", options);
  for (int i = 0; i < 3; ++i) {
    plain.accumulate(batch, 4);
    scaled.accumulate(batch, 4);
    CHECK(same(plain, scaled, Trainer::Which::kGradients));
    const auto a = plain.update(), b = scaled.update();
    CHECK(a.gradient_norm == b.gradient_norm);
    CHECK_FALSE(b.skipped);
  }
  CHECK(same(plain, scaled, Trainer::Which::kWeights));

  options.loss_scale = 0x1p127;  // halved until no gradient overflows
  Trainer large = trainer_of("tiny-fold", options);
  Trainer untouched = trainer_of("tiny-fold", fast());
  auto steep = golden_batch("tiny-fold", "train");
  steep.noise = steep.noise * 1000;
  auto done = large.step(steep);
  REQUIRE(done.skipped);
  CHECK(done.step == 0);
  CHECK(same(large, untouched, Trainer::Which::kWeights));
  int skipped = 1;
  while ((done = large.step(steep)).skipped) ++skipped;
  CHECK(skipped < LossScale::kMaxSkipped);
  CHECK(done.step == 1);
  large.save(folder.file("state"));
  const auto saved = SafetensorsFile::open(folder.file("state"));
  const auto& metadata = saved->metadata();
  CHECK(metadata.at("loss_scale") == std::to_string(127 - skipped));
  CHECK(metadata.at("good_steps") == "1");
  Trainer resumed = trainer_of("tiny-fold", options);
  resumed.load(folder.file("state"));
  CHECK_FALSE(resumed.step(steep).skipped);

  auto broken = batch;  // what no scale helps
  broken.x0 = at::full_like(batch.x0, std::numeric_limits<float>::infinity());
  for (int i = 1; i < LossScale::kMaxSkipped; ++i) CHECK(resumed.step(broken).skipped);
  CHECK(test::error_code([&] { resumed.step(broken); }) == code::kNumerics);

  LossScale scale{64};
  for (int i = 0; i < LossScale::kGrowAfter; ++i) scale.stepped();
  CHECK(scale.value == 128);
  scale.skip();
  CHECK(scale.value == 64);
  options.loss_scale = 3;
  CHECK(test::error_code([&] { trainer_of("tiny-fold", options); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { trainer_of("tiny-fold", fast(), at::kHalf); }) == code::kInvalidArgument);
}

TEST_CASE("the loss falls when four images are learnt by heart, in fp32 and in bf16") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
      if (dtype == at::kBFloat16 && variant == "tiny-sd15") continue;  // slow, and nothing new
      CAPTURE(variant);
      CAPTURE(c10::toString(dtype));
      Trainer trainer = trainer_of(variant, fast(3e-3), dtype);
      const auto batch = golden_batch(variant, "train");
      const double before = trainer.evaluate(batch, 0);
      for (int i = 0; i < 15; ++i) trainer.step(batch);
      const double after = trainer.evaluate(batch, 0);
      CHECK(after < 0.85 * before);
      CHECK((trainer.denoiser().parameters().front().second.scalar_type() == at::kFloat));  // the master weights
    }
  }
}

TEST_CASE("AdamW follows its formula, and leaves alone what has no gradient") {
  auto w = at::randn({5, 3, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast), idle = at::ones({4});
  w.set_requires_grad(true);
  idle.set_requires_grad(true);
  AdamWConfig config;
  config.weight_decay = 0.1;
  AdamW optimizer({w, idle}, config);
  auto want = w.detach().to(at::kDouble).clone(), m = at::zeros_like(want), v = at::zeros_like(want);
  for (int k = 1; k <= 4; ++k) {
    const auto g = at::randn({5, 3, 3, 3});  // of other memory format than w
    w.mutable_grad() = g;
    optimizer.step(0.01 * k);
    const auto d = g.to(at::kDouble);
    m = 0.9 * m + 0.1 * d;
    v = 0.999 * v + 0.001 * d * d;
    want = want * (1 - 0.01 * k * 0.1) -
           0.01 * k * (m / (1 - std::pow(0.9, k))) / ((v / (1 - std::pow(0.999, k))).sqrt() + 1e-8);
  }
  CHECK(excess(w.detach(), want, 1e-5, 1e-5) <= 1);
  CHECK(at::equal(idle.detach(), at::ones({4})));

  std::vector<at::Tensor> gradients{at::full({4}, 1.5f), at::full({3, 3}, -2.0f)};
  const double norm = global_norm(gradients);
  CHECK(norm == doctest::Approx(std::sqrt(4 * 1.5 * 1.5 + 9 * 4.0)));
  clip_gradients(gradients, norm, 100);
  CHECK(gradients[0][0].item<float>() == 1.5f);
  clip_gradients(gradients, norm, 1);
  CHECK(global_norm(gradients) == doctest::Approx(1).epsilon(1e-5));
}

TEST_CASE("the learning-rate schedules, the average and the Min-SNR weights follow their formulas") {
  LearningRate rate{2.0, LearningRateSchedule::kConstant, 4, 24};
  CHECK(rate.at(0) == doctest::Approx(0.5));
  CHECK(rate.at(3) == doctest::Approx(2));
  CHECK(rate.at(1000) == doctest::Approx(2));
  rate.schedule = LearningRateSchedule::kLinear;
  CHECK(rate.at(1) == doctest::Approx(1));
  CHECK(rate.at(4) == doctest::Approx(2));
  CHECK(rate.at(14) == doctest::Approx(1));
  CHECK(rate.at(24) == 0);
  CHECK(rate.at(30) == 0);
  rate.schedule = LearningRateSchedule::kCosine;
  CHECK(rate.at(9) == doctest::Approx(1 + std::cos(std::numbers::pi / 4)));
  CHECK(rate.at(24) == doctest::Approx(0).epsilon(1e-12));

  const auto w = at::zeros({3});
  Ema ema({w}, 0.95);
  w.fill_(1);
  double want = 0;
  for (int k = 1; k <= 300; ++k) {
    ema.update(k);
    const double decay = std::min(0.95, (1.0 + k) / (10.0 + k));
    want = decay * want + (1 - decay);
    CHECK(ema.averages()[0][0].item<double>() == doctest::Approx(want).epsilon(1e-5));
  }

  for (const auto prediction : {Prediction::kEpsilon, Prediction::kVelocity}) {
    ScheduleConfig config;
    config.prediction = prediction;
    const Schedule schedule(config);
    const auto t = at::tensor({0, 100, 500, 999}, at::kLong);
    const auto weights = min_snr_weights(schedule, t, 5.0);
    for (int64_t i = 0; i < 4; ++i) {
      const double abar = schedule.alphas_cumprod()[t[i].item<int64_t>()].item<double>(), snr = abar / (1 - abar);
      CHECK(weights[i].item<double>() ==
            doctest::Approx(std::min(snr, 5.0) / (prediction == Prediction::kVelocity ? snr + 1 : snr)).epsilon(1e-4));
    }
  }
}

TEST_CASE("what cannot be trained is an error, and a loss that is not finite changes nothing") {
  const test::TemporaryFolder folder;
  Trainer trainer = trainer_of("tiny-fold", fast()), untouched = trainer_of("tiny-fold", fast());
  auto batch = drawn_batch("tiny-fold");
  auto broken = batch;
  broken.x0 = broken.x0.clone();
  broken.x0[2][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  trainer.accumulate(rows(batch, 0, 1), 5);
  CHECK(test::error_code([&] { trainer.save(folder.file("half")); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { trainer.accumulate(broken, 5); }) == code::kNumerics);
  CHECK(same(trainer, untouched, Trainer::Which::kWeights));
  CHECK_FALSE(trainer.tensor(Trainer::Which::kGradients, "conv_in.bias").defined());
  CHECK(trainer.step(batch).loss == untouched.step(batch).loss);

  CHECK(test::error_code([&] { trainer.update(); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { trainer.accumulate(batch, 3); }) == code::kInvalidArgument);
  auto outside = batch;
  outside.conditions = at::arange(4) + 1;
  CHECK(test::error_code([&] { trainer.step(outside); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { trainer.tensor(Trainer::Which::kWeights, "surprise"); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { trainer.tensor(Trainer::Which::kAverages, "conv_in.bias"); }) == code::kInvalidArgument);
  CHECK(test::error_code([&] { trainer.export_weights(folder.file("none"), true, at::kFloat); }) ==
        code::kInvalidArgument);

  auto options = fast();
  options.t_end = 1001;
  CHECK(test::error_code([&] { trainer_of("tiny-fold", options); }) == code::kInvalidArgument);
  options = fast();
  options.rate.schedule = LearningRateSchedule::kLinear;
  CHECK(test::error_code([&] { trainer_of("tiny-fold", options); }) == code::kInvalidArgument);
  const auto frozen = std::make_shared<UNet>(load_tiny_unet("tiny-fold", tiny_fold_unet()));
  CHECK(test::error_code([&] { Trainer(frozen, schedule_of("tiny-fold"), at::arange(4), fast()); }) ==
        code::kInvalidArgument);

  trainer.save(folder.file("state"));
  CHECK(test::error_code([&] { trainer_of("tiny-sd15", fast()).load(folder.file("state")); }) == code::kModelInvalid);
  options = fast();
  options.ema_decay = 0.9;
  CHECK(test::error_code([&] { trainer_of("tiny-fold", options).load(folder.file("state")); }) == code::kModelInvalid);
  CHECK(test::error_code([&] { trainer.load(golden_path("tiny-fold/unet/diffusion_pytorch_model.safetensors")); }) ==
        code::kModelInvalid);
}
