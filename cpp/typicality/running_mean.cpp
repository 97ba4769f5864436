#include "typicality/running_mean.h"

#include <ATen/ops/zeros.h>

#include "kernels/ops.h"

namespace diffmine {

void RunningMean::begin(at::IntArrayRef shape, const at::TensorOptions& options) {
  if (count_ == 0) mean_ = at::zeros(shape, options.dtype(at::kFloat));
}

void RunningMean::add(const at::Tensor& samples) {
  begin(samples.sizes().slice(1), samples.options());
  ops::update_mean(samples, count_, mean_);
  count_ += samples.size(0);
}

}  // namespace diffmine
