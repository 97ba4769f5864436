// Low-rank updates: trained, saved as diffusers reads them, merged into a model's weights.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "support.h"
#include "training_support.h"
#include "weights/lora.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

constexpr const char* kProjection = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";  // of tiny-sd15

UNetConfig config_of(const std::string& variant) {
  return variant == "tiny-fold" ? tiny_fold_unet() : tiny_sd15_unet();
}

Trainer lora_trainer(const std::string& variant, const TrainerOptions& options, bool checkpointing = false,
                     at::ScalarType dtype = at::kFloat) {
  return {
      trainable(
          variant, dtype,
          {.trainable = true, .lora = LoraOptions{.rank = 3, .alpha = 6, .seed = 4}, .checkpointing = checkpointing}),
      schedule_of(variant), golden_conditions(variant), options};
}

WeightStore base_of(const std::string& variant) {
  return WeightStore({golden_path(variant + "/unet/diffusion_pytorch_model.safetensors")});
}

at::Tensor predicted(const UNet& unet, const std::string& variant, const TrainingBatch& batch, const at::Tensor& t) {
  return unet.forward(batch.x0, t, *unet.prepare(golden_conditions(variant)), batch.conditions);
}

}  // namespace

TEST_CASE("low-rank updates begin as the base, learn alone, and merged at load they predict as in training") {
  const test::TemporaryFolder folder;
  const auto t = at::tensor({3, 200, 500, 999}, at::kLong);
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    CAPTURE(variant);
    auto options = fast(1e-2);
    options.ema_decay = 0.9;
    Trainer trainer = lora_trainer(variant, options);
    for (const auto& [name, tensor] : trainer.denoiser().parameters())
      CHECK((name.find(".lora_") != std::string::npos && name.find(".to_") != std::string::npos));
    const auto batch = golden_batch(variant, "train");
    const UNet base = load_tiny_unet(variant, config_of(variant));
    const auto at_first = predicted(base, variant, batch, t);
    CHECK(excess(trainer.predict(batch.x0, t, batch.conditions), at_first, 5e-5, 5e-5) <= 1);

    const double before = trainer.evaluate(batch, 0);
    for (int i = 0; i < 12; ++i) trainer.step(batch);
    CHECK(trainer.evaluate(batch, 0) < before);
    for (const bool average : {false, true}) {
      CAPTURE(average);
      const std::string file = folder.file(variant + (average ? "-average" : ""));
      trainer.export_weights(file, average, at::kFloat);
      WeightStore merged = base_of(variant);
      merge_lora(merged, file, 1);
      const UNet loaded(config_of(variant), merged, at::kCPU, at::kFloat);
      const auto output = trainer.predict(batch.x0, t, batch.conditions, average);
      CHECK(excess(predicted(loaded, variant, batch, t), output, 5e-5, 5e-5) <= 1);
      CHECK(excess(at_first, output, 1e-3, 1e-3) > 1);  // they do something

      WeightStore nothing = base_of(variant);
      merge_lora(nothing, file, 0);
      CHECK(excess(predicted(UNet(config_of(variant), nothing, at::kCPU, at::kFloat), variant, batch, t), at_first,
                   1e-6, 1e-6) <= 1);
    }
    // Another training may start from the merged weights.
    WeightStore merged = base_of(variant);
    merge_lora(merged, folder.file(variant), 1);
    const auto next = std::make_shared<UNet>(config_of(variant), merged, at::kCPU, at::kFloat, Context{},
                                             DenoiserOptions{.trainable = true});
    Trainer continued(next, schedule_of(variant), golden_conditions(variant), fast());
    CHECK(continued.evaluate(batch, 0) == doctest::Approx(trainer.evaluate(batch, 0)).epsilon(1e-4));
  }
}

TEST_CASE(
    "a resumed training of low-rank updates equals an undisturbed one; checkpointing changes nothing; bf16 learns") {
  const test::TemporaryFolder folder;
  for (const std::string variant : {"tiny-sd15", "tiny-fold"}) {
    CAPTURE(variant);
    auto options = fast(1e-2);
    options.ema_decay = 0.9;
    const auto batch = drawn_batch(variant);
    Trainer whole = lora_trainer(variant, options), first = lora_trainer(variant, options),
            second = lora_trainer(variant, options);
    for (int i = 0; i < 4; ++i) whole.step(batch);
    for (int i = 0; i < 2; ++i) first.step(batch);
    first.save(folder.file(variant));
    second.load(folder.file(variant));
    for (int i = 0; i < 2; ++i) second.step(batch);
    CHECK(same(whole, second, Trainer::Which::kWeights));
    CHECK(same(whole, second, Trainer::Which::kAverages));

    Trainer checkpointed = lora_trainer(variant, options, true);
    whole.save(folder.file(variant));
    checkpointed.load(folder.file(variant));
    // Gradients, not weights after steps: where a gradient is near zero, AdamW makes a step of any rounding.
    whole.accumulate(batch, batch.x0.size(0));
    checkpointed.accumulate(batch, batch.x0.size(0));
    double worst = 0, largest = 0;
    for (const auto& [name, tensor] : whole.denoiser().parameters()) {
      const auto gradient = whole.tensor(Trainer::Which::kGradients, name);
      largest = std::max(largest, gradient.abs().max().item<double>());
      worst = std::max(worst,
                       (gradient - checkpointed.tensor(Trainer::Which::kGradients, name)).abs().max().item<double>());
    }
    CHECK(largest > 0);
    CHECK(worst <= 1e-5 * largest);

    Trainer half = lora_trainer(variant, options, false, at::kBFloat16);
    const double before = half.evaluate(batch, 1);
    for (int i = 0; i < 12; ++i) half.step(batch);
    CHECK(half.evaluate(batch, 1) < before);
  }
  CHECK(test::error_code([&] { trainer_of("tiny-fold", fast()).load(folder.file("tiny-fold")); }) ==
        code::kModelInvalid);
}

TEST_CASE("the scale of low-rank updates is parsed from their metadata, not searched for") {
  CHECK(lora_scale("{}") == 1);
  CHECK(lora_scale(R"({"unet.r": 4, "unet.lora_alpha": 8})") == 2);
  CHECK(lora_scale(R"( {"unet.lora_alpha" :1.6e1 ,"unet.r":4.0}  )") == 4);
  CHECK(lora_scale(R"({"unet.r": 4})") == 1);
  CHECK(lora_scale(R"({"unet.lora_alpha": 3})") == 3);
  CHECK(lora_scale(R"({"unet.r": 4, "unet.lora_alpha": null, "unet.use_rslora": null, "unet.rank_pattern": null})") ==
        1);
  CHECK(lora_scale(R"({"unet.r": 2, "unet.lora_alpha": 4, "unet.lora_alpha": 8})") ==
        4);  // the last, as Python reads it
  // What only looks like the keys: in strings, in keys with escapes, in other objects, of other models.
  CHECK(lora_scale(R"({"note": "\"unet.r\": 100, \"unet.use_rslora\": true", "unet.r": 2, "unet.lora_alpha": 2})") ==
        1);
  CHECK(
      lora_scale(
          R"({"text_encoder": {"unet.r": 100, "unet.use_rslora": true, "unet.rank_pattern": {"a": 1}}, "unet.r": 2, "unet.lora_alpha": 6})") ==
      3);
  CHECK(
      lora_scale(
          R"({"text_encoder.r": 100, "text_encoder.use_rslora": true, "xunet.r": 7, "unet.rx": [1, {"a": []}, "]"], "unet.r": 2, "unet.lora_alpha": 6})") ==
      3);
  CHECK(lora_scale(R"({"\u0075net.r": 5, "unet.lora_alpha": 10})") == 2);
  CHECK(
      lora_scale(
          R"({"unet.alpha_pattern": { }, "unet.rank_pattern":{}, "unet.use_rslora":false, "x": NaN, "y": -Infinity, "unet.r": 1, "unet.lora_alpha": 1})") ==
      1);
  CHECK(lora_scale("{\"a\": " + std::string(20000, '[') + std::string(20000, ']') +
                   ", \"unet.r\": 2, \"unet.lora_alpha\": 2}") == 1);

  const auto code_of = [](const std::string& text) { return test::error_code([&] { lora_scale(text); }); };
  for (const std::string& text :
       std::vector<std::string>{R"({"unet.use_rslora": true})", R"({"unet.use_rslora":true})",
                                R"({"unet.rank_pattern": {"a}": 3}})", R"({"unet.alpha_pattern":{"":{}}})"}) {
    CAPTURE(text);
    CHECK(code_of(text) == code::kModelUnsupported);
  }
  for (const std::string& text : std::vector<std::string>{"",
                                                          "[]",
                                                          "{",
                                                          "4",
                                                          R"({"unet.r": 4} x)",
                                                          R"({"unet.r": "4"})",
                                                          R"({"unet.r": 0})",
                                                          R"({"unet.r": -4})",
                                                          R"({"unet.r": NaN})",
                                                          R"({"unet.r": 1e999})",
                                                          R"({"unet.lora_alpha": Infinity})",
                                                          R"({"unet.r": 04})",
                                                          R"({"unet.r": +4})",
                                                          R"({"unet.r": 4.})",
                                                          R"({"unet.r": .5})",
                                                          R"({"unet.r": 4e})",
                                                          R"({"unet.r": 0x10})",
                                                          R"({"unet.use_rslora": 1})",
                                                          R"({"unet.use_rslora": trues})",
                                                          R"({"unet.rank_pattern": []})",
                                                          R"({"a": nul})",
                                                          R"({"a": [1, }, "b": 2})",
                                                          R"({"a": {"b" 1}})",
                                                          R"({"a": [1 2]})",
                                                          R"({"a": {1: 2}})",
                                                          R"({"a": [,]})",
                                                          "{\"a\": " + std::string(20000, '[') + "}"}) {
    CAPTURE(text);
    CHECK(code_of(text) == code::kWeightsInvalid);
  }
}

TEST_CASE("files of low-rank updates: names, alphas and scales as diffusers takes them, clear errors for others") {
  const test::TemporaryFolder folder;
  const std::string name = std::string(kProjection) + ".weight", prefix = std::string("unet.") + kProjection;
  auto plain = base_of("tiny-sd15");
  const at::Tensor weight = plain.take(name), down = at::randn({2, weight.size(1)}),
                   up = at::randn({weight.size(0), 2});
  const auto change = [&](const std::vector<std::pair<std::string, at::Tensor>>& tensors, double scale,
                          const std::map<std::string, std::string>& metadata = {}) {
    write_safetensors(folder.file("lora"), tensors, metadata);
    auto store = base_of("tiny-sd15");
    merge_lora(store, folder.file("lora"), scale);
    return store.take(name, weight.sizes()) - weight;
  };
  const auto product = at::mm(up, down);
  CHECK(excess(change({{prefix + ".lora_A.weight", down}, {prefix + ".lora_B.weight", up}}, 0.5), product * 0.5, 1e-5,
               1e-5) <= 1);
  CHECK(excess(change({{prefix + ".lora.down.weight", down}, {prefix + ".lora.up.weight", up}}, 1), product, 1e-5,
               1e-5) <= 1);
  CHECK(excess(change({{prefix + ".lora_A.weight", down},
                       {prefix + ".lora_B.weight", up},
                       {prefix + ".alpha", at::full({}, 8.0f)}},
                      1),
               product * 4, 1e-5, 1e-5) <= 1);
  CHECK(excess(change({{prefix + ".lora_A.weight", down}, {prefix + ".lora_B.weight", up}}, 1,
                      {{"lora_adapter_metadata", R"({"unet.alpha_pattern": {}, "unet.lora_alpha": 3, "unet.r": 2})"}}),
               product * 1.5, 1e-5, 1e-5) <= 1);

  const auto failing = [&](const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    return test::error_code([&] { change(tensors, 1, metadata); });
  };
  CHECK(failing({{"text_encoder.x.lora_A.weight", down}}) == code::kModelUnsupported);
  CHECK(failing({{prefix + ".weight", down}}) == code::kModelUnsupported);
  CHECK(failing({{prefix + ".lora_A.weight", down}}) == code::kWeightsInvalid);
  CHECK(failing({{prefix + ".lora_A.weight", down}, {prefix + ".lora_B.weight", at::randn({weight.size(0), 3})}}) ==
        code::kWeightsInvalid);
  CHECK(failing({{prefix + ".lora_A.weight", at::randn({2, weight.size(1) + 1})}, {prefix + ".lora_B.weight", up}}) ==
        code::kModelInvalid);
  CHECK(failing({{"unet.surprise.lora_A.weight", down}, {"unet.surprise.lora_B.weight", up}}) == code::kModelInvalid);
  CHECK(failing({{prefix + ".lora_A.weight", down}, {prefix + ".lora_B.weight", up}},
                {{"lora_adapter_metadata", R"({"unet.rank_pattern": {"a": 3}})"}}) == code::kModelUnsupported);
}
