// UNet, VAE and text encoder against the reference implementations' numbers, and what loading must refuse.
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <limits>
#include <map>

#include "tiny_models.h"
#include "weights/random.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

const std::map<std::string, std::string> kPaths{{"time_proj", "time_proj"},
                                                {"time_emb", "time_embedding"},
                                                {"conv_in", "conv_in"},
                                                {"down0_resnet0", "down_blocks.0.resnets.0"},
                                                {"down0_attn0", "down_blocks.0.attentions.0"},
                                                {"down0", "down_blocks.0"},
                                                {"down1", "down_blocks.1"},
                                                {"down2", "down_blocks.2"},
                                                {"mid", "mid_block"},
                                                {"up0", "up_blocks.0"},
                                                {"up1", "up_blocks.1"},
                                                {"up2", "up_blocks.2"}};

// Runs one golden "unet" case; the sample and every intermediate that the file holds must agree.
void check_unet_case(const UNet& unet, const SafetensorsFile& golden, const std::string& id,
                     const std::string& condition_tensor) {
  CAPTURE(id);
  const auto conditions = unet.prepare(golden.tensor(condition_tensor));
  std::map<std::string, at::Tensor> seen;
  const Observer observer = [&](std::string_view path, const at::Tensor& x) {
    seen[std::string(path)] = x.clone();
    return Observation{};
  };
  const auto sample = unet.forward(golden.tensor(id + ".in.x"), golden.tensor(id + ".in.t"), *conditions,
                                   golden.tensor(id + ".in.cond_index"), 1, &observer);
  CHECK(excess(sample, golden.tensor(id + ".out.sample"), 5e-5, 5e-5) <= 1);
  int compared = 0;
  for (const auto& [name, path] : kPaths) {
    if (!golden.has(id + ".out." + name)) continue;
    CAPTURE(name);
    REQUIRE(seen.count(path));
    CHECK(excess(seen[path], golden.tensor(id + ".out." + name), 5e-5, 5e-5) <= 1);
    ++compared;
  }
  CHECK(compared >= 3);
}

std::map<std::string, at::Tensor> tiny_fold_weights() {
  const auto file = SafetensorsFile::open(golden_path("tiny-fold/unet/diffusion_pytorch_model.safetensors"));
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, info] : file->tensors()) tensors[name] = file->tensor(name).clone();
  return tensors;
}

std::string load_error(std::map<std::string, at::Tensor> tensors, const UNetConfig& config = tiny_fold_unet()) {
  WeightStore weights(std::move(tensors));
  try {
    UNet unet(config, weights, at::kCPU, at::kFloat);
  } catch (const Error& e) {
    return e.code() + ": " + e.what();
  }
  return "loaded";
}

}  // namespace

TEST_CASE("the text-conditional UNet equals the reference, intermediates too") {
  const auto unet = load_tiny_unet("tiny-sd15", tiny_sd15_unet());
  const auto golden = SafetensorsFile::open(golden_path("tiny-sd15-golden/golden.safetensors"));
  for (const char* id : {"unet_0_b1_8x8", "unet_1_b4_8x8", "unet_2_b2_9x13", "unet_4_b2_5x7"})
    check_unet_case(unet, *golden, id, "cond.out.last_hidden_state");
}

TEST_CASE("the folded, class-conditional UNet with spatial attention equals the reference") {
  const auto unet = load_tiny_unet("tiny-fold", tiny_fold_unet());
  const auto golden = SafetensorsFile::open(golden_path("tiny-fold-golden/golden.safetensors"));
  check_unet_case(unet, *golden, "unet_0_b1_12x12", "cond.out.labels");
}

TEST_CASE("inputs fanned out over conditions equal one row a condition") {
  for (const bool text : {true, false}) {
    CAPTURE(text);
    const auto unet =
        text ? load_tiny_unet("tiny-sd15", tiny_sd15_unet()) : load_tiny_unet("tiny-fold", tiny_fold_unet());
    const auto conditions = unet.prepare(text ? at::randn({3, 77, 32}) : at::arange(3));
    const auto x = at::randn({2, text ? 4 : 12, 8, 12});
    const auto t = at::arange(2) * 300 + 17;
    const auto index = at::arange(6) % 3;
    const auto together = unet.forward(x, t, *conditions, index, 3);
    const auto alone = unet.forward(x.repeat_interleave(3, 0), t.repeat_interleave(3, 0), *conditions, index, 1);
    CHECK(excess(together, alone, 2e-5, 2e-5) <= 1);
    CHECK(excess(together[0], together[1], 1e-4, 1e-4) > 1);  // the conditions do matter
  }
}

TEST_CASE("one input fans out as several do, with plain time shifts and with scale_shift") {
  for (const bool scale_shift : {true, false}) {
    CAPTURE(scale_shift);
    auto config = tiny_fold_unet();
    config.scale_shift = scale_shift;
    auto weights = synthetic_weights(1);
    const UNet unet(config, weights, at::kCPU, at::kFloat);
    const auto conditions = unet.prepare(at::arange(4));
    const auto x = at::randn({1, 12, 8, 8}), t = at::arange(1) + 17;
    const auto together = unet.forward(x, t, *conditions, at::arange(4), 4);
    const auto alone =
        unet.forward(x.repeat_interleave(4, 0), t.repeat_interleave(4, 0), *conditions, at::arange(4), 1);
    CHECK(excess(together, alone, 2e-5, 2e-5) <= 1);
  }
}

TEST_CASE("layers outside of a graph compute what those in one do") {
  for (const bool text : {true, false}) {
    CAPTURE(text);
    const auto config = text ? tiny_sd15_unet() : tiny_fold_unet();
    auto weights = synthetic_weights(5), same_weights = synthetic_weights(5);
    const UNet plain(config, weights, at::kCPU, at::kFloat);
    const UNet trainable(config, same_weights, at::kCPU, at::kFloat, {}, {.trainable = true});
    const auto conditions = text ? at::randn({2, 77, 32}) : at::arange(2);
    const auto x = at::randn({2, config.in_channels, 16, 16}), t = at::arange(2) * 400 + 3, index = at::arange(4) % 2;
    const auto got = plain.forward(x, t, *plain.prepare(conditions), index, 2),
               want = trainable.forward(x, t, *trainable.prepare(conditions), index, 2).detach();
    CHECK(excess(got, want, 2e-5, 2e-5) <= 1);
  }
}

TEST_CASE("bf16 stays near fp32") {
  const auto exact = load_tiny_unet("tiny-sd15", tiny_sd15_unet());
  const auto reduced = load_tiny_unet("tiny-sd15", tiny_sd15_unet(), at::kBFloat16);
  const auto text = at::randn({2, 77, 32}), x = at::randn({2, 4, 16, 16});
  const auto t = at::arange(2) * 500, index = at::arange(2);
  const auto want = exact.forward(x, t, *exact.prepare(text), index),
             got = reduced.forward(x, t, *reduced.prepare(text), index);
  CHECK((got.scalar_type() == at::kFloat));
  const double error = ((got - want).norm() / want.norm()).item<double>();
  CHECK(error < 3e-2);
  CHECK(error > 0);
}

TEST_CASE("an observer replaces and stops") {
  const auto unet = load_tiny_unet("tiny-fold", tiny_fold_unet());
  const auto conditions = unet.prepare(at::arange(4));
  const auto x = at::randn({1, 12, 8, 8}), t = at::arange(1), index = at::arange(1);
  bool later = false;
  const Observer stop = [&](std::string_view path, const at::Tensor&) {
    later |= path == "up_blocks.2";
    return Observation{{}, path == "up_blocks.1"};
  };
  CHECK_FALSE(unet.forward(x, t, *conditions, index, 1, &stop).defined());
  CHECK_FALSE(later);
  const Observer silence = [](std::string_view path, const at::Tensor& seen) {
    return path == "up_blocks.2" ? Observation{at::zeros_like(seen)} : Observation{};
  };
  const auto plain = unet.forward(x, t, *conditions, index),
             silenced = unet.forward(x, t, *conditions, index, 1, &silence);
  CHECK(excess(silenced, plain, 1e-4, 1e-4) > 1);
  CHECK(excess(silenced, unet.forward(at::randn({1, 12, 8, 8}), t, *conditions, index, 1, &silence), 1e-6, 0) <= 1);
}

TEST_CASE("loading names what is missing, unknown, misshapen or not finite") {
  CHECK(load_error(tiny_fold_weights()) == "loaded");
  auto missing = tiny_fold_weights();
  missing.erase("mid_block.resnets.0.conv1.weight");
  CHECK(load_error(missing).find("mid_block.resnets.0.conv1.weight") != std::string::npos);
  auto unknown = tiny_fold_weights();
  unknown["up_blocks.0.surprise.weight"] = at::zeros({3});
  CHECK(load_error(unknown).find("up_blocks.0.surprise.weight") != std::string::npos);
  auto misshapen = tiny_fold_weights();
  misshapen["conv_in.bias"] = at::zeros({17});
  CHECK(load_error(misshapen).find("conv_in.bias") != std::string::npos);
  auto nan = tiny_fold_weights();
  nan["conv_out.bias"][2] = std::numeric_limits<float>::quiet_NaN();
  CHECK(load_error(nan).starts_with("WEIGHTS_INVALID"));
  auto config = tiny_fold_unet();
  config.down_block_types[1] = "KDownBlock2D";
  CHECK(load_error(tiny_fold_weights(), config).starts_with("MODEL_UNSUPPORTED"));
}

TEST_CASE("wrong arguments are errors, not crashes") {
  const auto unet = load_tiny_unet("tiny-fold", tiny_fold_unet());
  const auto other = load_tiny_unet("tiny-fold", tiny_fold_unet());
  const auto conditions = unet.prepare(at::arange(4));
  const auto x = at::zeros({1, 12, 8, 8}), t = at::arange(1), index = at::arange(1);
  CHECK_THROWS_AS(unet.prepare(at::arange(5)), Error);
  CHECK_THROWS_AS(other.forward(x, t, *conditions, index), Error);
  CHECK_THROWS_AS(unet.forward(at::zeros({1, 12, 9, 8}), t, *conditions, index),
                  Error);  // attention up blocks: multiples of 4
  CHECK_THROWS_AS(unet.forward(at::zeros({1, 3, 8, 8}), t, *conditions, index), Error);
  CHECK_THROWS_AS(unet.forward(x, at::arange(2), *conditions, index), Error);
  CHECK_THROWS_AS(unet.forward(x, t, *conditions, at::arange(1) + 4), Error);
}

TEST_CASE("the VAE equals the reference, both ways and at odd sizes") {
  WeightStore weights({golden_path("tiny-sd15/vae/diffusion_pytorch_model.safetensors")});
  const Vae vae(tiny_sd15_vae(), weights, at::kCPU);
  const auto golden = SafetensorsFile::open(golden_path("tiny-sd15-golden/golden.safetensors"));
  int cases = 0;
  for (const auto& [name, info] : golden->tensors()) {
    if (name.starts_with("vae_enc_") && name.ends_with(".in.image_u8")) {
      const auto id = name.substr(0, name.size() - 12);
      CAPTURE(id);
      auto image = golden->tensor(name).to(at::kFloat) / 255 * 2 - 1;
      if (image.dim() == 3) image = image.unsqueeze(0);
      const auto posterior = vae.encode(image);
      CHECK(excess(posterior.mean, golden->tensor(id + ".out.mean"), 1e-4, 1e-4) <= 1);
      CHECK(excess(posterior.logvar, golden->tensor(id + ".out.logvar"), 1e-4, 1e-4) <= 1);
      ++cases;
    }
    if (name.starts_with("vae_dec_") && name.ends_with(".in.latent")) {
      const auto id = name.substr(0, name.size() - 10);
      CAPTURE(id);
      CHECK(excess(vae.decode(golden->tensor(name)), golden->tensor(id + ".out.image"), 1e-4, 1e-4) <= 1);
      ++cases;
    }
  }
  CHECK(cases >= 6);
}

TEST_CASE("the text encoder equals the reference, with and without the tensor names' prefix") {
  const auto golden = SafetensorsFile::open(golden_path("tiny-sd15-golden/golden.safetensors"));
  const auto file = SafetensorsFile::open(golden_path("tiny-sd15/text_encoder/model.safetensors"));
  for (const bool prefix : {true, false}) {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [name, info] : file->tensors()) {
      const std::string bare = name.starts_with("text_model.") ? name.substr(11) : name;
      tensors[prefix ? "text_model." + bare : bare] = file->tensor(name);
    }
    WeightStore weights(tensors);
    const TextEncoder encoder(tiny_sd15_text_encoder(), weights, at::kCPU);
    CHECK(excess(encoder.forward(golden->tensor("text.in.input_ids")).text,
                 golden->tensor("text.out.last_hidden_state"), 1e-4, 1e-4) <= 1);
    CHECK_THROWS_AS(encoder.forward(at::zeros({1, 77}, at::kLong) + 694), Error);
  }
}
