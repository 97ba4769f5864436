// DIFT features against the reference's, and the pooling of boxes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include "diffusion/noise.h"
#include "features/dift.h"
#include "support.h"
#include "tiny_models.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

Model tiny_sd15() {
  Model model;
  model.denoiser = std::make_shared<UNet>(load_tiny_unet("tiny-sd15", tiny_sd15_unet()));
  WeightStore weights({golden_path("tiny-sd15/vae/diffusion_pytorch_model.safetensors")});
  model.vae = std::make_shared<Vae>(tiny_sd15_vae(), weights, at::kCPU);
  model.schedule = std::make_shared<Schedule>(ScheduleConfig{});
  return model;
}

}  // namespace

TEST_CASE("features of patches equal the reference's") {
  const auto golden = SafetensorsFile::open(golden_path("tiny-sd15-golden/golden.safetensors"));
  const auto model = tiny_sd15();
  const auto conditions = model.denoiser->prepare(golden->tensor("dift.in.cond"));
  const auto latents =
      model.encode_images(golden->tensor("dift.in.image_u8").permute({1, 2, 0}).unsqueeze(0).contiguous());
  DiftOptions options;
  options.batch = 3;  // passes that end within the ensemble
  const auto feature =
      dift_features(model, *conditions, latents, at::zeros({1}, at::kLong), options, golden->tensor("dift.in.noises"));
  CHECK(excess(feature, golden->tensor("dift.out.feature"), 1e-4, 1e-4) <= 1);
  const std::vector<PixelBox> boxes{{0, 0, 32, 32}, {16, 16, 48, 48}, {3, 5, 35, 37}, {32, 17, 64, 49}};
  CHECK(excess(pool_boxes(feature[0], boxes, 64, 64), golden->tensor("dift.out.patch_features"), 1e-4, 1e-4) <= 1);
}

TEST_CASE("features do not depend on the batch, and each image keeps its own noise and condition") {
  const auto golden = SafetensorsFile::open(golden_path("tiny-sd15-golden/golden.safetensors"));
  const auto model = tiny_sd15();
  const auto conditions = model.denoiser->prepare(golden->tensor("cond.out.last_hidden_state"));
  const auto latents = at::randn({3, 4, 8, 12});
  const auto index = at::arange(3);
  DiftOptions options;
  options.ensemble = 3, options.seed = 9;
  const auto together = dift_features(model, *conditions, latents, index, options);
  options.batch = 2;
  int64_t last = 0;
  Context context;
  context.on_progress = [&](const Progress& p) {
    CHECK(p.stage == "features");
    CHECK(p.done > last);
    CHECK(p.total == 9);
    last = p.done;
  };
  CHECK(excess(dift_features(model, *conditions, latents, index, options, {}, context), together, 2e-5, 2e-5) <= 1);
  CHECK(last == 9);
  const auto noises = draw_noise(9, 0, 3, {4, 8, 12}, Stream::kDift, at::kCPU);
  CHECK(excess(dift_features(model, *conditions, latents, index, options, noises), together, 2e-5, 2e-5) <= 1);
  auto own = at::randn({3, 3, 4, 8, 12});
  own[1].copy_(noises);
  CHECK(excess(dift_features(model, *conditions, latents, index, options, own)[1], together[1], 2e-5, 2e-5) <= 1);
}

TEST_CASE("what features cannot be made of is refused") {
  const auto golden = SafetensorsFile::open(golden_path("tiny-sd15-golden/golden.safetensors"));
  const auto model = tiny_sd15();
  const auto conditions = model.denoiser->prepare(golden->tensor("cond.out.last_hidden_state"));
  const auto latents = at::zeros({1, 4, 8, 8}), index = at::zeros({1}, at::kLong);
  const auto code_of = [&](auto change) {
    DiftOptions options;
    options.ensemble = 1;
    change(options);
    return test::error_code([&] { dift_features(model, *conditions, latents, index, options); });
  };
  CHECK(code_of([](DiftOptions&) {}) == "");
  CHECK(code_of([](DiftOptions& o) { o.block = 4; }) == code::kInvalidArgument);
  CHECK(code_of([](DiftOptions& o) { o.timestep = 1000; }) == code::kInvalidArgument);
  CHECK(code_of([](DiftOptions& o) { o.ensemble = 0; }) == code::kInvalidArgument);
  CHECK(test::error_code([&] {
          dift_features(model, *conditions, latents, index, {}, at::zeros({2, 4, 8, 9}));
        }) == code::kInvalidArgument);
  CancelToken token;
  token.cancel();
  CHECK(test::error_code([&] {
          dift_features(model, *conditions, latents, index, {}, {}, {&token, {}});
        }) == code::kCancelled);
}

TEST_CASE("boxes take the cells their corners truncate to, and the nearest cell where that is none") {
  const auto feature = at::arange(2 * 4 * 6).reshape({2, 4, 6}).to(at::kFloat) + 1;
  const auto unit = [](const at::Tensor& f) { return f / f.norm(); };
  // 32 x 48 px, 8 px a cell.
  CHECK(test::close(pool_boxes(feature, {{7, 15, 17, 33}}, 32, 48)[0],
                    unit(feature.slice(1, 0, 2).slice(2, 1, 4).mean({1, 2})), 1e-6, 0));
  CHECK(
      test::close(pool_boxes(feature, {{9, 41, 15, 47}}, 32, 48)[0], unit(feature.select(2, 5).select(1, 1)), 1e-6, 0));
  CHECK(test::close(pool_boxes(feature, {{30, 0, 32, 3}}, 32, 48)[0], unit(feature.select(2, 0).select(1, 3)), 1e-6,
                    0));  // down to the edge
  CHECK(test::close(pool_boxes(feature, {{32, 48, 32, 48}}, 32, 48)[0], unit(feature.select(2, 5).select(1, 3)), 1e-6,
                    0));
  CHECK(pool_boxes(feature, {}, 32, 48).sizes() == at::IntArrayRef({0, 2}));
  CHECK(test::error_code([&] { pool_boxes(feature, {{0, 0, NAN, 1}}, 32, 48); }) == code::kInvalidArgument);
  CHECK(at::equal(pool_boxes(at::zeros({2, 4, 6}), {{0, 0, 8, 8}}, 32, 48), at::zeros({1, 2})));
}
