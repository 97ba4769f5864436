// AdamW (Loshchilov and Hutter 2019), clipping by the global norm, and the learning-rate schedule.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace diffmine {

enum class LearningRateSchedule { kConstant, kLinear, kCosine };

struct LearningRate {
  double peak = 1e-5;
  LearningRateSchedule schedule = LearningRateSchedule::kConstant;
  int64_t warmup = 0;  // steps over which it rises evenly, peak at the last of them
  int64_t total = 0;   // steps after which linear and cosine reach zero; constant ignores it

  // Of step `step`, counted from 0; with p = (step - warmup) / (total - warmup): peak (1 - p), or peak (1 + cos(pi p))
  // / 2.
  double at(int64_t step) const;
};

struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0.01;  // decoupled: w <- w (1 - rate weight_decay), before the step
};

// sqrt(sum of squares of all gradients), fp32; 0 without gradients.
double global_norm(const std::vector<at::Tensor>& gradients);

// Scales the gradients by `max_norm` / norm where norm exceeds `max_norm`.
void clip_gradients(const std::vector<at::Tensor>& gradients, double norm, double max_norm);

// The moments of fp32 parameters that it updates in place.
//   m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
//   w <- w - rate (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + epsilon)
class AdamW {
 public:
  AdamW(std::vector<at::Tensor> parameters, const AdamWConfig& config);

  // One step with the parameters' gradients; those without are left alone, as torch.optim does.
  void step(double rate);

  int64_t steps() const { return steps_; }
  // To save them and to fill them again, in the parameters' order.
  const std::vector<at::Tensor>& first_moments() const { return first_; }
  const std::vector<at::Tensor>& second_moments() const { return second_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 private:
  AdamWConfig config_;
  std::vector<at::Tensor> parameters_, first_, second_;
  int64_t steps_ = 0;
};

}  // namespace diffmine
