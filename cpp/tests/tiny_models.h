// The tiny models of test/data/golden, configured by hand (the core reads no JSON config), and comparison with golden
// numbers.
#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "models/text_encoder.h"
#include "models/unet.h"
#include "models/vae.h"
#include "weights/weight_store.h"

namespace diffmine::testing {

inline std::string golden_path(const std::string& relative) {
  return std::string(DIFFMINE_TEST_DATA) + "/golden/" + relative;
}

inline UNetConfig tiny_sd15_unet() {
  UNetConfig c;
  c.block_out_channels = {16, 24, 24, 32};
  c.down_block_types = {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"};
  c.up_block_types = {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"};
  c.attention_head_dim = {8, 8, 8, 8};
  c.transformer_layers = {1, 1, 1, 1};
  c.cross_attention_dim = 32;
  c.norm_num_groups = 8;
  return c;
}

inline UNetConfig tiny_fold_unet() {
  UNetConfig c;
  c.in_channels = c.out_channels = 12;
  c.block_out_channels = {16, 24, 32};
  c.down_block_types = {"DownBlock2D", "DownBlock2D", "AttnDownBlock2D"};
  c.up_block_types = {"AttnUpBlock2D", "UpBlock2D", "UpBlock2D"};
  c.mid_block_type = "UNetMidBlock2D";
  c.layers_per_block = 1;
  c.attention_head_dim = {8, 8, 8};
  c.transformer_layers = {1, 1, 1};
  c.norm_num_groups = 8;
  c.scale_shift = true;
  c.num_class_embeds = 4;
  c.pixel_fold = 2;
  return c;
}

inline VaeConfig tiny_sd15_vae() {
  VaeConfig c;
  c.block_out_channels = {8, 8, 16, 16};
  c.norm_num_groups = 8;
  return c;
}

inline TextEncoderConfig tiny_sd15_text_encoder() {
  TextEncoderConfig c;
  c.vocab_size = 694;
  c.hidden_size = 32;
  c.intermediate_size = 64;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 4;
  return c;
}

inline UNet load_tiny_unet(const std::string& variant, const UNetConfig& config, at::ScalarType dtype = at::kFloat) {
  WeightStore weights({golden_path(variant + "/unet/diffusion_pytorch_model.safetensors")});
  return UNet(config, weights, at::kCPU, dtype);
}

// The largest |got - want| / (atol + rtol |want|): a case passes at 1 or below.
inline double excess(const at::Tensor& got, const at::Tensor& want, double atol, double rtol) {
  REQUIRE(got.sizes() == want.sizes());
  const auto g = got.to(at::kDouble), w = want.to(at::kDouble);
  return ((g - w).abs() / (w.abs() * rtol + atol)).max().item<double>();
}

}  // namespace diffmine::testing
