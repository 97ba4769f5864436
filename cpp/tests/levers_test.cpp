// What a lever leaves out is computed in another way, with the same results to rounding; and pictures encoded ahead of their scoring.
#include "core/levers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <set>

#include "core/device.h"
#include "devices.h"
#include "models/attention_cpu.h"
#include "models/encode_ahead.h"
#include "support.h"
#include "tiny_models.h"
#include "typicality/typicality.h"
#include "weights/random.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

struct AllLevers {
  ~AllLevers() { leave_out({}); }
};

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

TEST_CASE("levers: each is another way to the same results") {
  const AllLevers afterwards;
  const uint64_t seed = test::fresh_seed();
  CAPTURE(seed);
  const auto x = at::randn({2, 4, 16, 16}), text = at::randn({3, 77, 32});
  const auto t = at::tensor({17, 560}, at::kLong), index = at::tensor({0, 2, 1, 2}, at::kLong);
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    const auto forward = [&] {
      set_up_backends(device, false);
      WeightStore weights = synthetic_weights(5);
      const UNet unet(small_unet(), weights, device, at::kFloat);
      return unet.forward(x.to(device), t.to(device), *unet.prepare(text), index.to(device), 2).to(at::kCPU);
    };
    leave_out({});
    const auto want = forward();
    REQUIRE(want.abs().max().item<double>() > 0.1);
    std::set<std::string> differing;
    for (const auto& name : lever_names()) {
      CAPTURE(name);
      leave_out({name});
      const auto got = forward();
      CHECK(excess(got, want, 5e-5, 5e-5) <= 1);
      if (!got.equal(want)) differing.insert(name);
    }
    leave_out(lever_names());
    CHECK(excess(forward(), want, 5e-5, 5e-5) <= 1);
    // That a lever was left out shows in the last digits.
    for (const std::string name : {"group-norm", "layer-norm"}) CHECK(differing.count(name) == 1);
    if (device.is_cpu() && has_attention_cpu(at::kFloat)) {
      for (const std::string name : {"winograd", "block-attention"}) CHECK(differing.count(name) == 1);
    }
  }
}

TEST_CASE("levers: an unknown one is refused, and nothing changes") {
  const AllLevers afterwards;
  leave_out({"geglu"});
  CHECK(test::error_code([] { leave_out({"graphs", "no such lever"}); }) == code::kInvalidArgument);
  CHECK(uses(Lever::kGraphs));
  CHECK_FALSE(uses(Lever::kGeglu));
  CHECK(lever_names().size() == static_cast<size_t>(Lever::kEncodeAhead) + 1);
}

TEST_CASE("pictures encoded ahead have the latents, and the scores, of those encoded before") {
  const uint64_t seed = test::fresh_seed();
  CAPTURE(seed);
  const auto pictures = at::randint(0, 256, {3, 34, 40, 3}, at::kByte);
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    Model model;
    WeightStore unet({golden_path("tiny-sd15/unet/diffusion_pytorch_model.safetensors")}), vae({golden_path("tiny-sd15/vae/diffusion_pytorch_model.safetensors")});
    model.unet = std::make_shared<UNet>(tiny_sd15_unet(), unet, device, at::kFloat);
    model.vae = std::make_shared<Vae>(tiny_sd15_vae(), vae, device);
    model.schedule = std::make_shared<Schedule>(ScheduleConfig{});
    const auto there = pictures.to(device);
    std::vector<at::Tensor> one_by_one;
    for (int64_t b = 0; b < 3; ++b) one_by_one.push_back(model.encode_pictures(there.slice(0, b, b + 1)));

    TypicalityInput input;
    input.height = 34, input.width = 40;
    input.conditions = at::tensor({0, 1}, at::kLong).expand({3, 2}), input.subjects = at::zeros({3, 1}, at::kLong);
    input.weights = at::tensor({0.0f, 1.0f}).expand({3, 1, 2});
    input.keys = {1, 2, 3};
    TypicalityOptions options;
    options.samples = 5, options.patch = 8, options.keep_scores = true;
    options.batch = 6;  // three inputs a pass: some have samples of two pictures
    const auto conditions = model.unet->prepare(at::randn({2, 77, 32}));
    input.latents = at::cat(one_by_one);
    const auto want = score_typicality(model, conditions, input, options);

    EncodeAhead ahead(model, there, {});
    input.latents = ahead.latents();
    std::vector<int64_t> asked;
    input.ready = [&](int64_t picture) {
      asked.push_back(picture);
      ahead.need(picture, {});
    };
    const auto got = score_typicality(model, conditions, input, options);
    CHECK(asked == std::vector<int64_t>{0, 0, 1, 1, 1, 2, 2});  // rows 0-2, 3-5, 6-8, 9-11, 12-14 of five a picture
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
