#include "typicality/moments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "kernels/ops.h"

namespace diffmine {

void Moments::begin(at::IntArrayRef shape, const at::TensorOptions& options) {
  if (count_ > 0) return;
  mean_ = at::zeros(shape, options.dtype(at::kFloat));
  m2_ = at::zeros(shape, options.dtype(at::kFloat));
}

void Moments::add(const at::Tensor& samples) {
  begin(samples.sizes().slice(1), samples.options());
  ops::update_moments(samples, count_, mean_, m2_);
  count_ += samples.size(0);
}

at::Tensor Moments::standard_error() const {
  if (count_ == 0) throw Error(code::kInternal, "There are no samples to compute moments of.");
  if (count_ == 1) return at::full_like(mean_, std::numeric_limits<float>::quiet_NaN());
  return at::sqrt(m2_ / (static_cast<double>(count_ - 1) * static_cast<double>(count_)));
}

}  // namespace diffmine
