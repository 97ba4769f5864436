// The mean of maps that come sample by sample, in fp32.
#pragma once
#include <ATen/core/Tensor.h>

namespace diffmine {

class RunningMean {
 public:
  // samples [n, ...]: n more samples of the same shape.
  void add(const at::Tensor& samples);
  // n more samples of `shape`, which update(count so far, mean) makes and adds.
  template <class Update>
  void add(int64_t n, at::IntArrayRef shape, const at::TensorOptions& options, Update update) {
    begin(shape, options);
    update(count_, mean_);
    count_ += n;
  }
  int64_t count() const { return count_; }
  const at::Tensor& mean() const { return mean_; }

 private:
  void begin(at::IntArrayRef shape, const at::TensorOptions& options);  // zeros, before the first sample
  int64_t count_ = 0;
  at::Tensor mean_;
};

}  // namespace diffmine
