// The exponential moving average of parameters: what is kept of a training whose last steps are noisy.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace diffmine {

class Ema {
 public:
  // Starts as a copy of the parameters.
  Ema(std::vector<at::Tensor> parameters, double decay);

  // average <- d average + (1 - d) parameter, after the k-th step (k from 1), with d = min(decay, (1 + k) / (10 + k)):
  // so that the first values are forgotten however long the training is.
  void update(int64_t k);
  double decay_at(int64_t k) const;

  const std::vector<at::Tensor>& averages() const { return averages_; }  // in the parameters' order

 private:
  std::vector<at::Tensor> parameters_, averages_;
  double decay_;
};

}  // namespace diffmine
