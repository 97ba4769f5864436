// The kernels on tensors: each runs on the device its tensors are on, the .cu there or its CPU implementation here.
//
// Layers compute in fp32, fp16 or bf16, their sums in fp32 or better; images [B, C, H, W] come out channels_last. Other
// layouts are taken in by a copy first. No kernel takes part in autograd's graph: layers to be trained keep ATen's
// operators.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "kernels/loss_difference.h"

namespace diffmine::ops {

// --- layers ---

// What precedes and follows a GroupNorm in the same kernels. Vectors over channels are [B', C] or [B', C, 1, 1], where
// B' divides B: B / B' neighboring rows share one.
struct GroupNormOptions {
  bool silu = false;
  at::Tensor scale{}, shift{};  // y = y * (1 + scale) + shift, before SiLU
  at::Tensor add{};             // x = x + add
  at::Tensor beside{};          // [B, C2, H, W]: x = cat(x, beside), before `add`
};

// GroupNorm over channels_last images: y = (x - mean) / sqrt(var + eps) * weight + bias, reading x twice.
// x [B, C, H, W]; weight, bias [C], best fp32 (otherwise they are converted in every call).
at::Tensor group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups, double eps,
                      const GroupNormOptions& options = {});

// LayerNorm over the last dimension of x + add: x [.., C]; weight, bias, add [C], best fp32; add may be undefined.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps,
                      const at::Tensor& add = {});

// The 3x3 convolution (stride 1, padding 1) of x [B, C, H, W] in any dtype of a UNet -> [B, O, H, W] fp32,
// channels_last. For few outputs O, see kernels/conv_out.h. weight: conv_out_weight of [O, C, 3, 3]; bias [O].
at::Tensor conv_out_weight(const at::Tensor& weight);
at::Tensor conv_out(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// x [.., 2 C] = (hidden, gate) -> hidden GELU(gate) [.., C], the exact GELU.
at::Tensor geglu(const at::Tensor& x);

// In place: x[b] += v[b] at every place; x [B, C, H, W] (channels_last, else INTERNAL), v [B', C] or [B', C, 1, 1]
// as above. A convolution's bias belongs in v: then the convolution needs no pass of its own for it. Returns x.
at::Tensor add_channels_(at::Tensor x, const at::Tensor& v);

// In place: x += residual + bias, with x [B, C, H, W] channels_last or contiguous [.., C], residual of the same form
// with B' | B rows, bias [C] over channels or none. Returns x.
at::Tensor add_residual_(at::Tensor x, const at::Tensor& residual, const std::optional<at::Tensor>& bias = {});

// --- scoring ---

// Draws noise and adds it, for rows r = (image[r], sample[r]): noise[r] is the stream's sample (as in draw_noise), and
//   x[r] = a[r] latents[image[r]] + s[r] noise[r].
// latents [B, C, H, W] fp32; image, sample [P] int64; a, s [P] fp32; all on one device. Returns x [P, C, H, W] of
// `dtype`, channels_last, and noise [P, C, H, W] fp32.
std::pair<at::Tensor, at::Tensor> draw_and_add_noise(const at::Tensor& latents, const at::Tensor& image,
                                                     const at::Tensor& sample, const at::Tensor& a, const at::Tensor& s,
                                                     uint64_t seed, uint32_t stream_word, at::ScalarType dtype);

// See kernels/loss_difference.h: n consecutive samples of one image into the mean of `count` earlier ones. e [n K, C,
// H, W] fp32 (any layout), x [C, H, W], noise [n, C, H, W], target_x, target_noise, scale [n], subject [M], weight [M,
// K]; mean [M, f H, f W] fp32. Fills `differences` [n, M, f H, f W] fp32 where it is defined.
void loss_difference(const at::Tensor& e, const at::Tensor& x, const at::Tensor& noise, const at::Tensor& target_x,
                     const at::Tensor& target_noise, const at::Tensor& scale, const at::Tensor& subject,
                     const at::Tensor& weight, int64_t fold, int64_t count, at::Tensor& mean,
                     at::Tensor differences = {}, Loss loss = Loss::kSquared);

// x_t = a x + s noise: x, noise [P, C, H, W] fp32, a, s [P] fp32 -> [P, C, H, W] of `dtype`, channels_last.
at::Tensor add_noise(const at::Tensor& x, const at::Tensor& noise, const at::Tensor& a, const at::Tensor& s,
                     at::ScalarType dtype);

// samples [n, ...] into the mean [...] of `count` earlier ones.
void update_mean(const at::Tensor& samples, int64_t count, at::Tensor& mean);

// The highest and the lowest places in one launch, each as select_patches returns them.
std::pair<at::Tensor, at::Tensor> select_extremes(const at::Tensor& scores, int64_t patch, int64_t count);

// scores [..., R, S] -> [..., count] int64 on the same device: row * S + column, -1 where no room was left.
at::Tensor select_patches(const at::Tensor& scores, int64_t patch, int64_t count, bool ascending);

}  // namespace diffmine::ops
