// Streaming mean and variance (Welford / Chan et al.) of maps, element by element, in fp32 with a CPU implementation
// checked in float64.
#pragma once
#include <ATen/core/Tensor.h>

namespace diffmine {

class Moments {
 public:
  // samples [n, ...]: n more samples of the same shape.
  void add(const at::Tensor& samples);
  // n more samples of `shape`, which update(count so far, mean, m2) makes and adds.
  template <class Update>
  void add(int64_t n, at::IntArrayRef shape, const at::TensorOptions& options, Update update) {
    begin(shape, options);
    update(count_, mean_, m2_);
    count_ += n;
  }
  int64_t count() const { return count_; }
  const at::Tensor& mean() const { return mean_; }
  at::Tensor standard_error() const;  // s / sqrt(n), s with n - 1; NaN for n = 1

 private:
  void begin(at::IntArrayRef shape, const at::TensorOptions& options);  // zeros, before the first sample
  int64_t count_ = 0;
  at::Tensor mean_, m2_;
};

}  // namespace diffmine
