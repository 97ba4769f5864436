// INTERIM, until cpp/kernels/ops.cpp has these: removed before this is handed over.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include "kernels/ops.h"
#include "diffusion/noise.h"
namespace diffmine::ops {
__attribute__((weak)) std::pair<at::Tensor, at::Tensor> draw_and_add_noise(const at::Tensor& latents, const at::Tensor& picture, const at::Tensor& sample,
    const at::Tensor& a, const at::Tensor& s, uint64_t seed, uint32_t stream_word, at::ScalarType dtype) {
  auto noise = draw_noise(seed, 0, sample.max().item<int64_t>() + 1, latents.sizes().slice(1), Stream(stream_word), latents.device()).index_select(0, sample);
  return {add_noise(latents.index_select(0, picture), noise, a, s, dtype), noise};
}
__attribute__((weak)) at::Tensor loss_moments(const at::Tensor& e, const at::Tensor& x, const at::Tensor& noise, const at::Tensor& target_x,
    const at::Tensor& target_noise, const at::Tensor& subject, const at::Tensor& weight, int64_t fold, int64_t count, at::Tensor& mean, at::Tensor& m2, bool keep) {
  const int64_t n = noise.size(0);
  auto d = loss_difference(e, x.unsqueeze(0).expand_as(noise), noise, target_x, target_noise, subject.unsqueeze(0).expand({n, -1}), weight.unsqueeze(0).expand({n, -1, -1}), fold);
  update_moments(d, count, mean, m2);
  return keep ? d : at::Tensor();
}
__attribute__((weak)) std::pair<at::Tensor, at::Tensor> select_extremes(const at::Tensor& scores, int64_t patch, int64_t count) {
  return {select_patches(scores, patch, count, false), select_patches(scores, patch, count, true)};
}
}
#include "kernels/group_norm.h"
namespace diffmine { __attribute__((weak)) int64_t group_norm_scratch(const GroupNormShape&) { return 0; } }
