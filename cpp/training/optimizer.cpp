#include "training/optimizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace diffmine {

double LearningRate::at(int64_t step) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (schedule == LearningRateSchedule::kConstant) return peak;
  const double p =
      std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(1, total - warmup)));
  return schedule == LearningRateSchedule::kLinear ? peak * (1 - p) : peak * (1 + std::cos(std::numbers::pi * p)) / 2;
}

double global_norm(const std::vector<at::Tensor>& gradients) {
  if (gradients.empty()) return 0;
  return at::stack(at::_foreach_norm(gradients, 2)).norm().item<double>();
}

void clip_gradients(const std::vector<at::Tensor>& gradients, double norm, double max_norm) {
  const double scale = max_norm / (norm + 1e-6);  // as torch.nn.utils.clip_grad_norm_
  if (scale < 1) at::_foreach_mul_(gradients, scale);
}

AdamW::AdamW(std::vector<at::Tensor> parameters, const AdamWConfig& config)
    : config_(config), parameters_(std::move(parameters)) {
  const at::NoGradGuard no_graph;
  for (const auto& parameter : parameters_) {
    first_.push_back(at::zeros_like(parameter));
    second_.push_back(at::zeros_like(parameter));
  }
}

void AdamW::step(double rate) {
  const at::NoGradGuard no_graph;
  ++steps_;
  std::vector<at::Tensor> parameters, gradients, first, second, steps;
  const at::Tensor count =
      at::full({}, static_cast<double>(steps_), parameters_.front().options().requires_grad(false));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor gradient = parameters_[i].grad();
    if (!gradient.defined()) continue;
    // The fused kernels walk through memory: all four must lie there alike.
    if (gradient.strides() != parameters_[i].strides()) gradient = at::empty_like(parameters_[i]).copy_(gradient);
    parameters.push_back(parameters_[i]);
    gradients.push_back(std::move(gradient));
    first.push_back(first_[i]);
    second.push_back(second_[i]);
    steps.push_back(count);
  }
  if (parameters.empty()) return;
  at::_fused_adamw_(parameters, gradients, first, second, {}, steps, rate, config_.beta1, config_.beta2,
                    config_.weight_decay, config_.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace diffmine
