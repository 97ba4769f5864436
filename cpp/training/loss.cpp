#include "training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>

namespace diffmine {

at::Tensor prediction_loss(const at::Tensor& prediction, const at::Tensor& target) {
  return (prediction.to(at::kFloat) - target).square().flatten(1).mean(1);
}

at::Tensor min_snr_weights(const Schedule& schedule, const at::Tensor& t, double gamma) {
  const at::Tensor abar = at::index_select(schedule.alphas_cumprod(), 0, t.to(at::kCPU));
  const at::Tensor snr = abar / (1 - abar), clipped = snr.clamp_max(gamma);
  return (schedule.config().prediction == Prediction::kVelocity ? clipped / (snr + 1) : clipped / snr).to(t.device());
}

}  // namespace diffmine
