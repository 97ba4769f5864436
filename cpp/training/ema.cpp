#include "training/ema.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>

#include <algorithm>

namespace diffmine {

Ema::Ema(std::vector<at::Tensor> parameters, double decay) : parameters_(std::move(parameters)), decay_(decay) {
  for (const auto& parameter : parameters_) averages_.push_back(parameter.detach().clone());
}

double Ema::decay_at(int64_t k) const {
  return std::min(decay_, static_cast<double>(1 + k) / static_cast<double>(10 + k));
}

void Ema::update(int64_t k) {
  const at::NoGradGuard no_graph;
  at::_foreach_lerp_(averages_, parameters_, 1 - decay_at(k));
}

}  // namespace diffmine
