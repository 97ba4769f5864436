// AutoencoderKL: diffusers' VAE, encoder and decoder.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/engine_options.h"
#include "weights/weight_store.h"

namespace diffmine {

struct VaeConfig {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  std::vector<int64_t> block_out_channels{128, 256, 512, 512};
  int64_t layers_per_block = 2;
  int64_t norm_num_groups = 32;
  double scaling_factor = 0.18215, shift_factor = 0;  // of latents: (mean - shift) * scaling
  bool use_quant_conv = true, use_post_quant_conv = true, mid_block_add_attention = true;
};

class Vae {
 public:
  // Both attention namings (to_q / query, ...) load. Throws as UNet's constructor. Always in fp32: the encoder is under
  // 1 % of a scan, fp16 overflows in it (force_upcast), and bf16 latents would blur every score. `beside` is what the
  // UNet computes in: beside fp16 and bf16 the encoder's convolutions on CUDA round their factors to TF32's 11 bits,
  // which are fp16's (EngineOptions::encode_tf32).
  Vae(const VaeConfig& config, WeightStore& weights, const at::Device& device, const Context& context = {},
      const EngineOptions& options = {}, at::ScalarType beside = at::kFloat);
  ~Vae();
  Vae(Vae&&) noexcept;

  const VaeConfig& config() const;
  struct Posterior {
    at::Tensor mean, logvar;
  };                                                 // [B, latent, h, w] fp32; logvar clamped to [-30, 20]
  Posterior encode(const at::Tensor& images) const;  // [B, 3, H, W] in [-1, 1]
  at::Tensor decode(
      const at::Tensor& latents) const;  // already divided by scaling_factor; [B, 3, H, W] fp32, not clamped
  int64_t factor() const;                // pixels a latent: 2^(blocks - 1)

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffmine
