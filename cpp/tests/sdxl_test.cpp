// Stable Diffusion XL: two text encoders, pooled text and image sizes beside the timestep, against diffusers' numbers.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"
#include "models/model.h"
#include "models/unet.h"
#include "tiny_models.h"
#include "weights/safetensors.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

UNetConfig tiny_sdxl_unet() {
  UNetConfig c;
  c.block_out_channels = {16, 32, 32};
  c.down_block_types = {"DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"};
  c.up_block_types = {"CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"};
  c.attention_head_dim = {2, 4, 4};
  c.transformer_layers = {1, 2, 3};
  c.cross_attention_dim = 40;
  c.norm_num_groups = 8;
  c.use_linear_projection = true;
  c.pooled_dim = 20, c.size_embed_dim = 8;
  return c;
}

TextEncoderConfig encoder_config(bool second) {
  TextEncoderConfig c;
  c.vocab_size = 634;
  c.hidden_size = second ? 24 : 16;
  c.intermediate_size = 2 * c.hidden_size;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 4;
  c.hidden_act = second ? "gelu" : "quick_gelu";
  c.penultimate = true;
  c.projection_dim = second ? 20 : 0;
  return c;
}

std::map<std::string, at::Tensor> tensors_of(const std::string& part) {
  const auto file = SafetensorsFile::open(golden_path("tiny-sdxl/" + part));
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, info] : file->tensors()) tensors[name] = file->tensor(name);
  return tensors;
}

std::shared_ptr<const TextEncoder> encoder(bool second, at::ScalarType stored = at::kFloat) {
  auto tensors = tensors_of(second ? "text_encoder_2/model.safetensors" : "text_encoder/model.safetensors");
  for (auto& [name, tensor] : tensors) tensor = tensor.to(stored);
  WeightStore weights(tensors);
  return std::make_shared<TextEncoder>(encoder_config(second), weights, at::kCPU);
}

ConditionInput golden_conditions(const SafetensorsFile& golden, const std::string& id) {
  const auto rows = golden.tensor(id + ".in.cond_index");
  ConditionInput input;
  input.text = golden.tensor("cond.out.prompt_embeds").index_select(0, rows);
  input.pooled = golden.tensor("cond.out.pooled").index_select(0, rows);
  input.time_ids = golden.tensor(id + ".in.time_ids");
  return input;
}

}  // namespace

TEST_CASE("SDXL's UNet equals the reference, its up blocks too") {
  const auto unet = load_tiny_unet("tiny-sdxl", tiny_sdxl_unet());
  const auto golden = SafetensorsFile::open(golden_path("tiny-sdxl-golden/golden.safetensors"));
  for (const std::string id : {"unet_0", "unet_1", "unet_2"}) {
    CAPTURE(id);
    const auto input = golden_conditions(*golden, id);
    std::map<std::string, at::Tensor> seen;
    const Observer observer = [&](std::string_view path, const at::Tensor& output) -> Observation {
      seen[std::string(path)] = output.clone();
      return {};
    };
    const auto sample = unet.forward(golden->tensor(id + ".in.x"), golden->tensor(id + ".in.t"), *unet.prepare(input),
                                     at::arange(input.rows()), 1, &observer);
    CHECK(excess(sample, golden->tensor(id + ".out.sample"), 1e-4, 1e-4) <= 1);
    for (const char* up : {"0", "1", "2"})
      CHECK(excess(seen.at(std::string("up_blocks.") + up), golden->tensor(id + ".out.up" + up), 1e-4, 1e-4) <= 1);
  }
}

TEST_CASE("SDXL's conditions without time ids have those of the image's size") {
  const auto unet = load_tiny_unet("tiny-sdxl", tiny_sdxl_unet());
  ConditionInput input;
  input.text = at::randn({3, 77, 40}), input.pooled = at::randn({3, 20});
  const auto x = at::randn({2, 4, 8, 12}), t = at::tensor({900, 20}, at::kLong);
  const auto index = at::tensor({0, 1, 2, 1}, at::kLong);
  const auto implied = unet.prepare(input);
  input.time_ids = at::tensor({70.f, 100.f, 0.f, 0.f, 70.f, 100.f}).repeat({3, 1});
  const auto given = unet.prepare(input);
  const auto out = unet.forward(x, t, *given, index, 2);
  CHECK(excess(unet.forward(x, t, *implied, index, 2, nullptr, {70, 100}), out, 1e-5, 1e-5) <= 1);
  CHECK(excess(unet.forward(x, t, *implied, index, 2, nullptr, {100, 70}), out, 1e-5, 1e-5) > 1);
  CHECK_THROWS_AS(unet.forward(x, t, *implied, index, 2), Error);
  Model model;
  model.denoiser = std::make_shared<UNet>(load_tiny_unet("tiny-sdxl", tiny_sdxl_unet()));
  input.time_ids.reset();
  CHECK((model.pixels(x) == PixelSize{8, 12}));
  CHECK(model.forward(x, t, model.denoiser->prepare(input), index, 2).defined());
  input.pooled = at::randn({3, 21});
  CHECK_THROWS_AS(unet.prepare(input), Error);
  input.pooled.reset();
  CHECK_THROWS_AS(unet.prepare(input), Error);
}

TEST_CASE("the pooled embedding is that of the end token, or of the largest id where the config says 2") {
  const auto by_largest = encoder(true);
  auto tensors = tensors_of("text_encoder_2/model.safetensors");
  WeightStore weights(tensors);
  auto config = encoder_config(true);
  config.eos_token_id = 600;
  const TextEncoder by_token(config, weights, at::kCPU);
  const auto first = at::tensor({int64_t{5}, int64_t{600}, int64_t{7}, int64_t{600}}).unsqueeze(0);
  CHECK(at::equal(by_largest->forward(first).pooled, by_token.forward(first).pooled));
  const auto larger = at::tensor({int64_t{5}, int64_t{600}, int64_t{7}, int64_t{633}}).unsqueeze(0);
  CHECK_FALSE(at::equal(by_largest->forward(larger).pooled, by_token.forward(larger).pooled));
}

TEST_CASE("text encoders keep the dtype of their files and compute in fp32") {
  const auto ids = at::arange(77).unsqueeze(0);
  const auto exact = encoder(true), half = encoder(true, at::kHalf);
  CHECK(2 * half->weight_bytes() == exact->weight_bytes());
  const auto made = half->forward(ids);
  CHECK((made.text.scalar_type() == at::kFloat));
  const auto text = exact->forward(ids).text;
  CHECK((made.text - text).norm().item<double>() < 2e-3 * text.norm().item<double>());

  Model model;
  model.text_encoders = {encoder(false), encoder(true)};
  const auto both = model.encode_text({ids, ids});
  CHECK(at::equal(both.text, at::cat({encoder(false)->forward(ids).text, exact->forward(ids).text}, -1)));
  CHECK(both.pooled.sizes() == at::IntArrayRef({1, 20}));
  CHECK_THROWS_AS(model.encode_text({ids}), Error);
}
