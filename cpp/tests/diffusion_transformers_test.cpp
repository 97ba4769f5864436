// Diffusion transformers and flows against diffusers' numbers; tensors of checkpoints under other names.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <string_view>

#include "diffusion/schedule.h"
#include "models/dit.h"
#include "models/layers.h"
#include "models/sd3.h"
#include "support.h"
#include "tiny_models.h"
#include "weights/renamed.h"
#include "weights/safetensors.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

DiTConfig tiny_dit() {
  DiTConfig c;
  c.num_layers = 3;
  c.num_attention_heads = 2, c.attention_head_dim = 8;
  c.sample_size = 8;
  c.num_classes = 6;
  return c;
}

Sd3Config tiny_sd35() {
  Sd3Config c;
  c.in_channels = c.out_channels = 8;
  c.num_layers = 3;
  c.num_attention_heads = 3, c.attention_head_dim = 8;
  c.joint_attention_dim = 44, c.pooled_projection_dim = 52;
  c.sample_size = 16, c.pos_embed_max_size = 16;
  c.dual_attention_layers = {0, 2};
  c.qk_norm = true;
  return c;
}

template <class Kind, class Config>
Kind load_tiny(const std::string& variant, const Config& config, at::ScalarType dtype = at::kFloat) {
  WeightStore weights({golden_path(variant + "/transformer/diffusion_pytorch_model.safetensors")});
  return Kind(config, weights, at::kCPU, dtype);
}

std::shared_ptr<SafetensorsFile> golden_of_transformer(const std::string& variant) {
  return SafetensorsFile::open(golden_path(variant + "-golden/golden.safetensors"));
}

}  // namespace

TEST_CASE("DiT equals the reference: prediction, learned variance and blocks; conditions fan out") {
  const auto dit = load_tiny<DiT>("tiny-dit", tiny_dit());
  const auto golden = golden_of_transformer("tiny-dit");
  for (const std::string id : {"dit_0", "dit_1"}) {
    CAPTURE(id);
    const auto x = golden->tensor(id + ".in.x"), t = golden->tensor(id + ".in.t");
    const auto conditions = dit.prepare(golden->tensor(id + ".in.class_labels"));
    std::map<std::string, at::Tensor> seen;
    const Observer observer = [&](std::string_view path, const at::Tensor& output) -> Observation {
      seen[std::string(path)] = output.clone();
      return {};
    };
    const auto sample = dit.forward(x, t, *conditions, at::arange(x.size(0)), 1, &observer);
    const auto reference = golden->tensor(id + ".out.sample");
    CHECK(excess(sample, reference.slice(1, 0, 4), 1e-4, 1e-4) <= 1);
    CHECK(excess(seen.at("proj_out"), reference, 1e-4, 1e-4) <= 1);
    for (const char* block : {"0", "1", "2"}) {
      const auto tokens = seen.at(std::string("transformer_blocks.") + block).flatten(2).transpose(1, 2);
      CHECK(excess(tokens, golden->tensor(id + ".out.block" + block), 1e-4, 1e-4) <= 1);
    }
  }
  const auto x = at::randn({2, 4, 6, 10}), t = at::tensor({10, 900}, at::kLong);
  const auto conditions = dit.prepare(at::tensor({0, 6, 3}, at::kLong));
  const auto fanned = dit.forward(x, t, *conditions, at::tensor({0, 1, 2, 1}, at::kLong), 2);
  for (int64_t row = 0; row < 4; ++row) {
    const auto alone = dit.forward(x.slice(0, row / 2, row / 2 + 1), t.slice(0, row / 2, row / 2 + 1), *conditions,
                                   at::tensor({row % 2 ? 1 : row}, at::kLong));
    CHECK(excess(fanned.slice(0, row, row + 1), alone, 1e-5, 1e-5) <= 1);
  }
  CHECK_THROWS_AS(dit.prepare(at::tensor({7}, at::kLong)), Error);
  CHECK_THROWS_AS(dit.forward(at::randn({2, 4, 5, 8}), t, *conditions, at::arange(2)), Error);
}

TEST_CASE("Stable Diffusion 3.5 equals the reference, and bf16 stays near") {
  const auto golden = golden_of_transformer("tiny-sd35");
  ConditionInput input;
  input.text = golden->tensor("text.out.prompt_embeds");
  input.pooled = golden->tensor("text.out.pooled");
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto sd3 = load_tiny<Sd3>("tiny-sd35", tiny_sd35(), dtype);
    const auto conditions = sd3.prepare(input);
    for (const std::string id : {"mmdit_0", "mmdit_1"}) {
      CAPTURE(id);
      const auto sample = sd3.forward(golden->tensor(id + ".in.x"), golden->tensor(id + ".in.t"), *conditions,
                                      golden->tensor(id + ".in.cond_index"));
      const auto reference = golden->tensor(id + ".out.sample");
      if (dtype == at::kFloat) {
        CHECK(excess(sample, reference, 1e-4, 1e-4) <= 1);
      } else {
        CHECK((sample - reference).norm().item<double>() < 0.03 * reference.norm().item<double>());
      }
    }
    // larger than the table of places
    CHECK_THROWS_AS(sd3.forward(at::randn({1, 8, 34, 8}), at::tensor({1.f}), *conditions, at::arange(1)), Error);
  }
  const auto sd3 = load_tiny<Sd3>("tiny-sd35", tiny_sd35());
  input.pooled = at::randn({5, 51});
  CHECK_THROWS_AS(sd3.prepare(input), Error);
}

TEST_CASE("flows: noise, target and Euler steps as the reference has them") {
  ScheduleConfig config;
  config.prediction = Prediction::kFlow;
  config.shift = 3;
  const Schedule flow(config);
  const auto golden = golden_of_transformer("tiny-sd3");  // whose shift it is
  const auto sigmas = golden->tensor("flow_timesteps.out.sigmas");
  const auto steps = flow.flow_steps(sigmas.size(0) - 1);
  CHECK(test::close(at::tensor(steps.sigmas, at::kFloat), sigmas, 1e-6, 1e-6));
  CHECK(test::close(at::tensor(steps.timesteps, at::kFloat), golden->tensor("flow_timesteps.out.timesteps"), 1e-3, 0));
  const auto x0 = at::randn({3, 2, 4}), noise = at::randn({3, 2, 4}), t = at::tensor({0.f, 250.5f, 1000.f});
  const auto noisy = flow.add_noise(x0, noise, t);
  CHECK(at::equal(noisy[0], x0[0]));
  CHECK(test::close(noisy[1], x0[1] * 0.7495 + noise[1] * 0.2505, 1e-6, 1e-5));
  CHECK(at::equal(noisy[2], noise[2]));
  CHECK(at::equal(flow.target(x0, noise, t), noise - x0));
  // A step with the true velocity leads all the way.
  CHECK(test::close(Schedule::flow_step(noise[1] - x0[1], 0.2505, 0, noisy[1]), x0[1], 1e-6, 1e-5));
  CHECK_THROWS_AS(flow.add_noise(x0, noise, at::tensor({0.f, 1.f, 1000.5f})), Error);
  CHECK_THROWS_AS(flow.ddim_step(noise, 1, x0, 10), Error);
}

TEST_CASE("renamed weights: rows, another shape, transposed") {
  const test::TemporaryFolder folder;
  const std::string file = folder.file("checkpoint.safetensors");
  const auto fused = at::randn({6, 3}), kernel = at::randn({4, 3, 1, 1}), projection = at::randn({3, 5});
  write_safetensors(file, {{"fused", fused}, {"kernel", kernel}, {"projection", projection}}, {});
  std::vector<RenamedTensor> names(4);
  names[0] = {.name = "q.weight", .stored = "fused", .begin = 0, .end = 3};
  names[1] = {.name = "k.weight", .stored = "fused", .begin = 3, .end = 6};
  names[2] = {.name = "linear.weight", .stored = "kernel", .shape = {4, 3}};
  names[3] = {.name = "text_projection.weight", .stored = "projection", .transposed = true, .shape = {5, 3}};
  auto weights = renamed_weights({file}, names);
  CHECK(at::equal(weights.take("q.weight", {3, 3}), fused.slice(0, 0, 3)));
  CHECK(at::equal(weights.take("k.weight", {3, 3}), fused.slice(0, 3, 6)));
  CHECK(at::equal(weights.take("linear.weight", {4, 3}), kernel.flatten(1)));
  const at::Tensor transposed = weights.take("text_projection.weight", {5, 3});
  CHECK(at::equal(transposed, projection.t()));
  CHECK(transposed.is_contiguous());
  names[1].end = 7;
  CHECK_THROWS_AS(renamed_weights({file}, names).take("k.weight"), Error);
  names[1] = {.name = "k.weight", .stored = "absent"};
  CHECK_THROWS_AS(renamed_weights({file}, names).take("k.weight"), Error);
}

TEST_CASE("a convolution with a stride is right where its output is one cell wide or high, in bf16 too") {
  for (const int64_t channels : {48, 64}) {
    const auto weight = at::randn({channels, channels, 3, 3}) * 0.05, bias = at::randn({channels});
    for (const bool prepacked : {true, false}) {
      WeightStore weights({{"conv.weight", weight}, {"conv.bias", bias}});
      EngineOptions options;
      options.prepacked_weights = prepacked;
      const Context context;
      Loader loader(weights, at::kCPU, at::kBFloat16, context, options);
      const auto conv = Conv2d::load(loader, "conv", channels, channels, 3, 2, 1);
      for (const auto& [height, width] :
           {std::pair<int64_t, int64_t>{13, 1}, {13, 2}, {64, 2}, {2, 13}, {1, 1}, {7, 3}}) {
        CAPTURE(height);
        CAPTURE(width);
        const auto x = at::randn({2, channels, height, width}).to(at::kBFloat16);
        const auto got = conv(x).to(at::kFloat);
        const auto want = at::conv2d(x.to(at::kFloat), weight.to(at::kBFloat16).to(at::kFloat), bias, {2, 2}, {1, 1});
        REQUIRE(got.sizes() == want.sizes());
        CHECK((got - want).norm().item<double>() < 0.02 * want.norm().item<double>());
      }
    }
  }
}
