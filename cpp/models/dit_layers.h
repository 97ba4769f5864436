// The layers that diffusion transformers (dit.h, sd3.h) have in common. Activations are tokens [B, N, C]; a token is a
// patch of p x p cells of the image.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "models/denoiser.h"
#include "models/layers.h"

namespace diffmine {

// Sinusoids [B, 256] of timesteps (cosines first), then two Linears: [B, C] fp32.
class TimestepEmbedder {
 public:
  // freq_shift is diffusers' downscale_freq_shift.
  static TimestepEmbedder load(Loader& exact, const std::string& name, int64_t channels, double freq_shift);
  at::Tensor operator()(const at::Tensor& t) const;

 private:
  Linear first_, second_;
  double freq_shift_ = 0;
};

// LayerNorm without weights, then y (1 + scale) + shift, where scale and shift [B, C] are of x's rows.
at::Tensor modulated_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps = 1e-6);

// y (1 + scale) + shift.
at::Tensor modulate(const at::Tensor& y, const at::Tensor& scale, const at::Tensor& shift);
// h + gate y, where gate [B, C] is of the rows.
at::Tensor add_gated(const at::Tensor& h, const at::Tensor& gate, const at::Tensor& y);

// x / sqrt(mean(x^2) + eps) * weight over the last dimension, in fp32.
class RmsNorm {
 public:
  static RmsNorm load(Loader& loader, const std::string& name, int64_t size, double eps);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor weight_;
  double eps_ = 1e-6;
};

// Linear, activation, Linear, with 4 C channels between.
class TransformerFeedForward {
 public:
  // activation: gelu | gelu-approximate | geglu. MODEL_UNSUPPORTED for others.
  static TransformerFeedForward load(Loader& loader, const std::string& name, int64_t channels,
                                     const std::string& activation);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  Linear in_, out_;
  bool tanh_ = false, gated_ = false, fused_ = false;
};

// Sines and cosines of the places of h x w patches, [h w, channels] fp32: of the column in the first half of the
// channels, of the row in the second. Places are scaled to a grid of `base` x `base`.
at::Tensor patch_positions(int64_t channels, int64_t height, int64_t width, int64_t base, const at::Device& device);

// [B, h w, p p C] -> [B, C, h p, w p].
at::Tensor unpatchify(const at::Tensor& tokens, int64_t height, int64_t width, int64_t patch);

// What Denoiser::forward is given must fit. INVALID_ARGUMENT names what does not; `name` is the model's.
void check_pass(const Denoiser& denoiser, const std::string& name, const at::Tensor& x, const at::Tensor& t,
                const Conditions& conditions, const at::Tensor& condition_index, int64_t fan_out);

}  // namespace diffmine
