// The kernels on tensors: each runs on the device its tensors are on, the .cu there or its twin here.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace diffmine::ops {

// x_t = a x + s noise: x, noise [P, C, H, W] fp32, a, s [P] fp32 -> [P, C, H, W] of `dtype`, channels_last.
at::Tensor add_noise(const at::Tensor& x, const at::Tensor& noise, const at::Tensor& a, const at::Tensor& s, at::ScalarType dtype);

// See kernels/loss_difference.h. e [P * K, C, H, W] fp32 -> [P, M, f H, f W] fp32.
at::Tensor loss_difference(const at::Tensor& e, const at::Tensor& x, const at::Tensor& noise, const at::Tensor& target_x,
                           const at::Tensor& target_noise, const at::Tensor& subject, const at::Tensor& weight, int64_t fold);

// samples [n, ...] into mean, m2 [...], after `count` earlier ones.
void update_moments(const at::Tensor& samples, int64_t count, at::Tensor& mean, at::Tensor& m2);

// scores [..., R, S] -> [..., count] int64 on the same device: row * S + column, -1 where no room was left.
at::Tensor select_patches(const at::Tensor& scores, int64_t patch, int64_t count, bool ascending);

}  // namespace diffmine::ops
