// What an optimization is disabled for is computed in another way, with the same results to rounding; and images
// encoded ahead of their scoring.
#include "core/engine_options.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "devices.h"
#include "kernels/attention_cpu.h"
#include "models/encode_ahead.h"
#include "support.h"
#include "tiny_models.h"
#include "typicality/typicality.h"
#include "weights/random.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

// A small UNet with text, of channels that all kernels take.
UNetConfig small_unet() {
  UNetConfig c = tiny_sd15_unet();
  c.block_out_channels = {32, 64};
  c.down_block_types = {"CrossAttnDownBlock2D", "DownBlock2D"};
  c.up_block_types = {"UpBlock2D", "CrossAttnUpBlock2D"};
  c.attention_head_dim = {4, 8};
  c.transformer_layers = {1, 1};
  c.layers_per_block = 1;
  return c;
}

}  // namespace

TEST_CASE("optimizations: disabling one changes results by rounding at most") {
  const auto x = at::randn({2, 4, 16, 16}), text = at::randn({3, 77, 32});
  const auto t = at::tensor({17, 560}, at::kLong), index = at::tensor({0, 2, 1, 2}, at::kLong);
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    const auto forward = [&](const EngineOptions& options) {
      WeightStore weights = synthetic_weights(5);
      const UNet unet(small_unet(), weights, device, at::kFloat, {}, {.engine = options});
      return unet.forward(x.to(device), t.to(device), *unet.prepare(text), index.to(device), 2).to(at::kCPU);
    };
    const auto want = forward({});
    REQUIRE(want.abs().max().item<double>() > 0.1);
    std::set<std::string> differing;
    EngineOptions none;
    for (const auto& [name, enabled] : optimizations()) {
      CAPTURE(name);
      none.*enabled = false;
      const auto got = forward(EngineOptions::without({name}));
      CHECK(excess(got, want, 5e-5, 5e-5) <= 1);
      if (!got.equal(want)) differing.insert(name);
    }
    CHECK(excess(forward(none), want, 5e-5, 5e-5) <= 1);
    // That one was disabled shows in the last digits.
    CHECK(differing.count("group-norm") == 1);
    if (device.is_cpu() && has_attention_cpu(at::kFloat)) {
      for (const std::string name : {"winograd", "block-attention"}) CHECK(differing.count(name) == 1);
    }
  }
}

// Each engine owns its options: neither another engine nor the thread that calls it has a say.
TEST_CASE(
    "optimizations: engines with other options work beside each other, on any thread, and stay the same to the bit") {
  const auto x = at::randn({2, 4, 16, 16}), text = at::randn({3, 77, 32});
  const auto t = at::tensor({17, 560}, at::kLong), index = at::tensor({0, 2, 1, 2}, at::kLong);
  EngineOptions none;
  for (const auto& [name, enabled] : optimizations()) none.*enabled = false;
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    struct Side {
      EngineOptions options;
      at::ScalarType dtype;
      std::unique_ptr<UNet> unet;
      at::Tensor alone;
      int differing = 0;
    };
    std::vector<Side> sides;
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const auto& options : {EngineOptions{}, none}) sides.push_back({options, dtype, nullptr, {}});
    }
    const auto forward = [&](const Side& side) {
      return side.unet->forward(x.to(device), t.to(device), *side.unet->prepare(text), index.to(device), 2)
          .to(at::kCPU);
    };
    for (Side& side : sides) {
      WeightStore weights = synthetic_weights(5);
      side.unet = std::make_unique<UNet>(small_unet(), weights, device, side.dtype, Context{},
                                         DenoiserOptions{.engine = side.options});
      side.alone = forward(side);
    }
    CHECK_FALSE(sides[0].alone.equal(sides[1].alone));
    std::vector<std::thread> threads;
    for (Side& side : sides) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) side.differing += static_cast<int>(!forward(side).equal(side.alone));
      });
    }
    for (auto& thread : threads) thread.join();
    for (const Side& side : sides) CHECK(side.differing == 0);
  }
}

TEST_CASE("optimizations: each has a name of its own; an unknown one is refused with the known ones") {
  const EngineOptions some = EngineOptions::without({"geglu", "graphs"});
  std::set<std::string> names;
  for (const auto& [name, enabled] : optimizations()) {
    names.insert(name);
    CHECK(EngineOptions{}.*enabled);
    CHECK(some.*enabled == (name != "geglu" && name != "graphs"));
  }
  CHECK(names.size() == optimizations().size());
  const Error error = test::error_of([] { EngineOptions::without({"graphs", "no such one"}); });
  CHECK(error.code() == code::kInvalidArgument);
  CHECK(std::string(error.what()).find("no such one") != std::string::npos);
  CHECK(error.hint().find("shared-prefix") != std::string::npos);
}

TEST_CASE("images encoded ahead have the latents, and the scores, of those encoded before") {
  const auto images = at::randint(0, 256, {3, 34, 40, 3}, at::kByte);
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    Model model;
    WeightStore unet({golden_path("tiny-sd15/unet/diffusion_pytorch_model.safetensors")}),
        vae({golden_path("tiny-sd15/vae/diffusion_pytorch_model.safetensors")});
    model.denoiser = std::make_shared<UNet>(tiny_sd15_unet(), unet, device, at::kFloat);
    model.vae = std::make_shared<Vae>(tiny_sd15_vae(), vae, device);
    model.schedule = std::make_shared<Schedule>(ScheduleConfig{});
    const auto there = images.to(device);
    std::vector<at::Tensor> one_by_one;
    for (int64_t b = 0; b < 3; ++b) one_by_one.push_back(model.encode_images(there.slice(0, b, b + 1)));

    TypicalityInput input;
    input.height = 34, input.width = 40;
    input.conditions = at::tensor({0, 1}, at::kLong).expand({3, 2}), input.subjects = at::zeros({3, 1}, at::kLong);
    input.weights = at::tensor({0.0f, 1.0f}).expand({3, 1, 2});
    input.keys = {1, 2, 3};
    TypicalityOptions options;
    options.samples = 5, options.patch = 8, options.keep_scores = true;
    options.batch = 6;  // three inputs a pass: some have samples of two images
    const auto conditions = model.denoiser->prepare(at::randn({2, 77, 32}));
    input.latents = at::cat(one_by_one);
    const auto want = score_typicality(model, conditions, input, options);

    EncodeAhead ahead(model, there, {});
    input.latents = ahead.latents();
    std::vector<int64_t> asked;
    input.ready = [&](int64_t image) {
      asked.push_back(image);
      ahead.need(image, {});
    };
    const auto got = score_typicality(model, conditions, input, options);
    CHECK(asked == std::vector<int64_t>{0, 0, 1, 1, 1, 2, 2});  // rows 0-2, 3-5, 6-8, 9-11, 12-14 of five an image
    CHECK(ahead.latents().equal(at::cat(one_by_one)));
    for (size_t b = 0; b < 3; ++b) CHECK(got.outputs[b][0].scores.equal(want.outputs[b][0].scores));

    CancelToken token;
    token.cancel();
    Context cancelled;
    cancelled.cancel = &token;
    EncodeAhead stopped(model, there, {});
    CHECK(test::error_code([&] { stopped.need(1, cancelled); }) == code::kCancelled);
  }
}
