// Noise schedules with DDIM (Ho et al. 2020; Song et al. 2021) and flows with Euler's method (Esser et al. 2024), as
// diffusers' DDPM, DDIM and FlowMatchEulerDiscrete schedulers compute them.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace diffmine {

enum class Prediction {
  kEpsilon,
  kVelocity,
  kFlow,  // noise - x0, the velocity of a flow x_t = (1 - sigma) x0 + sigma noise, with sigma = t / T
};

struct ScheduleConfig {
  std::string beta_schedule = "scaled_linear";  // scaled_linear | linear | squaredcos_cap_v2
  int64_t train_timesteps = 1000;
  double beta_start = 0.00085, beta_end = 0.012;
  Prediction prediction = Prediction::kEpsilon;
  bool set_alpha_to_one = true;  // false: the level before the first is alpha_bar[0]
  int64_t steps_offset = 0;
  bool clip_sample = true;  // DDIM clips predicted x0 to [-1, 1]; diffusers' default when the key is absent
  double clip_sample_range = 1.0;
  double shift = 1;  // of flows, which have no betas: above 1, sampling takes more of its steps at high noise
};

class Schedule {
 public:
  explicit Schedule(const ScheduleConfig& config);  // MODEL_UNSUPPORTED for an unknown beta_schedule
  const ScheduleConfig& config() const { return config_; }
  bool flow() const { return config_.prediction == Prediction::kFlow; }
  const at::Tensor& betas() const { return betas_; }                    // [T] fp32, CPU; undefined for flows
  const at::Tensor& alphas_cumprod() const { return alphas_cumprod_; }  // [T] fp32, CPU; undefined for flows

  // Of each timestep, [B] fp32 on the CPU: x_t = signal x0 + noise eps, and the model is trained to predict
  // target_x x0 + target_noise eps.
  struct Levels {
    at::Tensor signal, noise, target_x, target_noise;
  };
  // t [B]: whole numbers of 0 ... T - 1; those of flows may be fractions, up to T. INVALID_ARGUMENT for others.
  Levels levels(const at::Tensor& t) const;

  // x_t = signal x0 + noise eps; x0, noise [B, ...], t [B]. fp32. Of noise schedules, signal = sqrt(abar_t) and
  // noise = sqrt(1 - abar_t).
  at::Tensor add_noise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& t) const;
  // v = sqrt(abar_t) eps - sqrt(1 - abar_t) x0; of flows eps - x0.
  at::Tensor velocity(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& t) const;
  // What the model was trained to predict: eps, or v.
  at::Tensor target(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& t) const;

  // DDIM timesteps, descending, leading spacing: i * (T / steps) + steps_offset.
  std::vector<int64_t> ddim_timesteps(int64_t steps) const;
  struct Step {
    at::Tensor prev_sample, pred_x0;
  };
  // One eta = 0 DDIM step from t to the previous level of a `steps`-step schedule.
  Step ddim_step(const at::Tensor& model_output, int64_t t, const at::Tensor& sample, int64_t steps) const;
  // One DDIM inversion step to t: `sample` has the level before t in the ascending schedule.
  at::Tensor ddim_invert_step(const at::Tensor& model_output, int64_t t, const at::Tensor& sample, int64_t steps) const;

  // Euler's method for flows, with `steps` timesteps, descending, as diffusers spaces and shifts them.
  struct FlowSteps {
    std::vector<double> timesteps;  // [steps], fp32 numbers
    std::vector<double> sigmas;     // [steps + 1], fp32 numbers: t / T, then 0
  };
  FlowSteps flow_steps(int64_t steps) const;
  // From sigma to the next one.
  static at::Tensor flow_step(const at::Tensor& velocity, double sigma, double next, const at::Tensor& sample);

 private:
  struct Clean {
    at::Tensor x0, noise;
  };
  Clean clean_at(float abar, const at::Tensor& model_output, const at::Tensor& sample) const;
  float level(int64_t t) const;  // abar_t
  float final_level() const;     // the level before the first timestep
  int64_t stride(int64_t steps) const;

  ScheduleConfig config_;
  at::Tensor betas_, alphas_cumprod_;
};

}  // namespace diffmine
