// What tests of typicality share: the tiny models, an input for them, and the smallest options.
#pragma once
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tiny_models.h"
#include "typicality/typicality.h"

namespace diffmine::testing {

inline ScheduleConfig linear_schedule() {
  ScheduleConfig c;
  c.beta_schedule = "linear", c.beta_start = 0.0001, c.beta_end = 0.02;
  return c;
}

inline UNet load_unet(const std::string& variant, const UNetConfig& config, const at::Device& device,
                      at::ScalarType dtype = at::kFloat) {
  WeightStore weights({golden_path(variant + "/unet/diffusion_pytorch_model.safetensors")});
  return UNet(config, weights, device, dtype);
}

inline Model tiny_fold(const at::Device& device = at::kCPU, at::ScalarType dtype = at::kFloat) {
  Model model;
  model.denoiser = std::make_shared<UNet>(load_unet("tiny-fold", tiny_fold_unet(), device, dtype));
  model.schedule = std::make_shared<Schedule>(linear_schedule());
  return model;
}

inline Model tiny_sd15(const at::Device& device = at::kCPU, at::ScalarType dtype = at::kFloat) {
  Model model;
  model.denoiser = std::make_shared<UNet>(load_unet("tiny-sd15", tiny_sd15_unet(), device, dtype));
  WeightStore weights({golden_path("tiny-sd15/vae/diffusion_pytorch_model.safetensors")});
  model.vae = std::make_shared<Vae>(tiny_sd15_vae(), weights, device);
  model.schedule = std::make_shared<Schedule>(ScheduleConfig{});
  return model;
}

// B images of tiny-fold, each under labels 0 ... 2 and the null class 3, every label scored against null.
inline TypicalityInput labels_against_null(int64_t images, int64_t height, int64_t width) {
  TypicalityInput in;
  in.latents = at::randn({images, 12, height / 2, width / 2}) * 0.5;
  in.height = height, in.width = width;
  in.conditions = at::arange(4).expand({images, 4});
  in.subjects = at::arange(3).expand({images, 3});
  in.weights = at::zeros({images, 3, 4});
  in.weights.select(2, 3).fill_(1);
  for (int64_t b = 0; b < images; ++b) in.keys.push_back(100 + b);
  return in;
}

inline TypicalityOptions small(int64_t samples, int64_t batch) {
  TypicalityOptions o;
  o.samples = samples, o.batch = batch, o.patch = 7, o.seed = 5;
  o.keep_scores = o.keep_losses = true;
  return o;
}

inline bool same_boxes(const std::vector<ScoredPatch>& a, const std::vector<ScoredPatch>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](auto& x, auto& y) { return x.row == y.row && x.column == y.column; });
}

}  // namespace diffmine::testing
