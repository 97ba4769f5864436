// Schedules, deterministic DDIM and Euler steps, in fp32 as diffusers computes them.
//
// A "level" is a noise level abar; level(t) = alphas_cumprod[t]. With x = sqrt(abar) x0 + sqrt(1 - abar) eps:
//   epsilon models:  x0 = (x - sqrt(1 - abar) out) / sqrt(abar),        eps = out
//   velocity models: x0 = sqrt(abar) x - sqrt(1 - abar) out,            eps = sqrt(abar) out + sqrt(1 - abar) x
#include "diffusion/schedule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cumprod.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <sstream>

#include "core/error.h"

namespace diffmine {
namespace {

constexpr double kMaxBeta = 0.999;  // of squaredcos_cap_v2

at::Tensor make_betas(const ScheduleConfig& config) {
  const int64_t steps = config.train_timesteps;
  const auto fp32 = at::TensorOptions().dtype(at::kFloat);
  if (config.beta_schedule == "linear") return at::linspace(config.beta_start, config.beta_end, steps, fp32);
  if (config.beta_schedule == "scaled_linear") {
    return at::linspace(std::sqrt(config.beta_start), std::sqrt(config.beta_end), steps, fp32).square();
  }
  // beta_i = 1 - f((i + 1) / T) / f(i / T), f(s) = cos^2((s + 0.008) / 1.008 pi / 2)  (Nichol and Dhariwal 2021)
  at::Tensor betas = at::empty({steps}, fp32);
  float* out = betas.mutable_data_ptr<float>();
  const auto f = [](double s) { return std::pow(std::cos((s + 0.008) / 1.008 * std::numbers::pi / 2), 2); };
  for (int64_t i = 0; i < steps; ++i) {
    const double t = static_cast<double>(steps);
    out[i] =
        static_cast<float>(std::min(1.0 - f(static_cast<double>(i + 1) / t) / f(static_cast<double>(i) / t), kMaxBeta));
  }
  return betas;
}

void check_flow(const ScheduleConfig& config) {
  if (config.train_timesteps < 1 || config.train_timesteps > 1'000'000 || !std::isfinite(config.shift) ||
      config.shift <= 0) {
    throw Error(code::kModelInvalid,
                "The flow cannot be used: " + std::to_string(config.train_timesteps) + " training timesteps, shift " +
                    std::to_string(config.shift) + ".",
                "Check scheduler/scheduler_config.json.");
  }
}

void check(const ScheduleConfig& config) {
  const auto& name = config.beta_schedule;
  if (name != "scaled_linear" && name != "linear" && name != "squaredcos_cap_v2") {
    throw Error(code::kModelUnsupported, "The beta_schedule '" + name + "' is not supported.",
                "Supported are scaled_linear, linear and squaredcos_cap_v2.");
  }
  const bool betas = config.beta_start > 0 && config.beta_start <= config.beta_end && config.beta_end < 1;
  if (config.train_timesteps < 1 || config.train_timesteps > 1'000'000 || (name != "squaredcos_cap_v2" && !betas)) {
    throw Error(code::kModelInvalid,
                "The noise schedule cannot be used: " + std::to_string(config.train_timesteps) +
                    " training timesteps, betas from " + std::to_string(config.beta_start) + " to " +
                    std::to_string(config.beta_end) + ".",
                "Check scheduler/scheduler_config.json.");
  }
}

// [B] shaped to broadcast over x [B, ...], on x's device.
at::Tensor by_row(const at::Tensor& values, const at::Tensor& x) {
  if (x.dim() < 1 || values.size(0) != x.size(0)) {
    throw Error(code::kInvalidArgument, "One timestep per sample is needed: " + std::to_string(values.numel()) +
                                            " timesteps for " + std::to_string(x.dim() ? x.size(0) : 0) + " samples.");
  }
  std::vector<int64_t> shape(x.dim(), 1);
  shape[0] = x.size(0);
  return values.view(shape).to(x.device());
}

}  // namespace

Schedule::Schedule(const ScheduleConfig& config) : config_(config) {
  if (flow()) {
    check_flow(config);
    return;
  }
  check(config);
  betas_ = make_betas(config);
  alphas_cumprod_ = at::cumprod(1 - betas_, 0);
}

Schedule::Levels Schedule::levels(const at::Tensor& t) const {
  const at::Tensor at_cpu = t.to(at::kCPU, flow() ? at::kFloat : at::kLong).reshape({-1}).contiguous();
  const double last = static_cast<double>(config_.train_timesteps - (flow() ? 0 : 1));
  if (at_cpu.numel() > 0) {
    const double least = at_cpu.min().item<double>(), most = at_cpu.max().item<double>();
    if (!(least >= 0 && most <= last)) {
      std::ostringstream what;
      what << "Timestep " << (least >= 0 ? most : least) << " lies outside the schedule's 0 to " << last << ".";
      throw Error(code::kInvalidArgument, what.str());
    }
  }
  if (flow()) {
    const at::Tensor sigma = at_cpu / static_cast<double>(config_.train_timesteps);
    return {1 - sigma, sigma, at::full_like(sigma, -1), at::ones_like(sigma)};
  }
  const at::Tensor abar = at::index_select(alphas_cumprod_, 0, at_cpu);
  const at::Tensor signal = abar.sqrt(), noise = (1 - abar).sqrt();
  if (config_.prediction == Prediction::kVelocity) return {signal, noise, -noise, signal};
  return {signal, noise, at::zeros_like(signal), at::ones_like(signal)};
}

at::Tensor Schedule::add_noise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& t) const {
  const Levels level = levels(t);
  return by_row(level.signal, x0) * x0.to(at::kFloat) + by_row(level.noise, x0) * noise.to(at::kFloat);
}

at::Tensor Schedule::velocity(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& t) const {
  if (flow()) return noise.to(at::kFloat) - x0.to(at::kFloat);
  const Levels level = levels(t);
  return by_row(level.signal, x0) * noise.to(at::kFloat) - by_row(level.noise, x0) * x0.to(at::kFloat);
}

at::Tensor Schedule::target(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& t) const {
  return config_.prediction == Prediction::kEpsilon ? noise.to(at::kFloat) : velocity(x0, noise, t);
}

// diffusers makes the sigmas of training in fp32 and those of sampling, from their ends, in fp64; both are shifted.
Schedule::FlowSteps Schedule::flow_steps(int64_t steps) const {
  const int64_t T = config_.train_timesteps;
  if (!flow() || steps < 1 || steps > T) {
    throw Error(
        code::kInvalidArgument,
        flow() ? std::to_string(steps) + " sampling steps do not fit a flow of " + std::to_string(T) + " timesteps."
               : "A noise schedule has no flow.",
        "Ask for 1 to " + std::to_string(T) + " steps.");
  }
  const auto shifted = [&](auto sigma) {
    using Number = decltype(sigma);
    const auto shift = static_cast<Number>(config_.shift), beyond = static_cast<Number>(config_.shift - 1);
    return shift * sigma / (1 + beyond * sigma);
  };
  const auto end = [&](int64_t t) {
    return static_cast<double>(shifted(static_cast<float>(t) / static_cast<float>(T))) * static_cast<double>(T);
  };
  const double first = end(T), last = end(1);
  FlowSteps made;
  for (int64_t i = 0; i < steps; ++i) {
    const double step = steps > 1 ? (last - first) / static_cast<double>(steps - 1) : 0;
    const double t = i > 0 && i + 1 == steps ? last : static_cast<double>(i) * step + first;
    const auto sigma = static_cast<float>(shifted(t / static_cast<double>(T)));
    made.sigmas.push_back(sigma);
    made.timesteps.push_back(sigma * static_cast<float>(T));
  }
  made.sigmas.push_back(0);
  return made;
}

at::Tensor Schedule::flow_step(const at::Tensor& velocity, double sigma, double next, const at::Tensor& sample) {
  const float step = static_cast<float>(next) - static_cast<float>(sigma);
  return sample.to(at::kFloat) + step * velocity.to(at::kFloat);
}

std::vector<int64_t> Schedule::ddim_timesteps(int64_t steps) const {
  const int64_t T = config_.train_timesteps;
  if (flow()) throw Error(code::kInvalidArgument, "DDIM does not apply to flows, which take Euler steps.");
  if (steps < 1 || steps > T || (steps - 1) * (T / steps) + config_.steps_offset >= T || config_.steps_offset < 0) {
    throw Error(code::kInvalidArgument,
                std::to_string(steps) + " DDIM steps do not fit a schedule of " + std::to_string(T) +
                    " timesteps with steps_offset " + std::to_string(config_.steps_offset) + ".",
                "Ask for 1 to " + std::to_string(T - 1) + " steps.");
  }
  std::vector<int64_t> out;
  for (int64_t i = steps - 1; i >= 0; --i) out.push_back(i * (T / steps) + config_.steps_offset);
  return out;
}

float Schedule::level(int64_t t) const {
  if (flow()) throw Error(code::kInvalidArgument, "DDIM does not apply to flows, which take Euler steps.");
  if (t < 0 || t >= config_.train_timesteps) {
    throw Error(code::kInvalidArgument, "Timestep " + std::to_string(t) + " lies outside the schedule's 0 to " +
                                            std::to_string(config_.train_timesteps - 1) + ".");
  }
  return alphas_cumprod_.const_data_ptr<float>()[t];
}

float Schedule::final_level() const { return config_.set_alpha_to_one ? 1.0f : level(0); }

int64_t Schedule::stride(int64_t steps) const {
  if (steps < 1 || steps > config_.train_timesteps)
    throw Error(code::kInvalidArgument, std::to_string(steps) + " DDIM steps are out of range.");
  return config_.train_timesteps / steps;
}

Schedule::Step Schedule::ddim_step(const at::Tensor& model_output, int64_t t, const at::Tensor& sample,
                                   int64_t steps) const {
  const int64_t previous = t - stride(steps);
  const float here = level(t), there = previous >= 0 ? level(previous) : final_level();
  Clean clean = clean_at(here, model_output, sample);
  // With eta = 0 diffusers keeps the noise that goes with the unclipped x0.
  if (config_.clip_sample) clean.x0 = clean.x0.clamp(-config_.clip_sample_range, config_.clip_sample_range);
  return {std::sqrt(there) * clean.x0 + std::sqrt(1.0f - there) * clean.noise, clean.x0};
}

at::Tensor Schedule::ddim_invert_step(const at::Tensor& model_output, int64_t t, const at::Tensor& sample,
                                      int64_t steps) const {
  const int64_t previous = t - stride(steps);
  const bool first = t <= config_.steps_offset || previous < 0;
  const float there = level(t);
  const Clean clean = clean_at(first ? final_level() : level(previous), model_output, sample);
  return std::sqrt(there) * clean.x0 + std::sqrt(1.0f - there) * clean.noise;
}

Schedule::Clean Schedule::clean_at(float abar, const at::Tensor& model_output, const at::Tensor& sample) const {
  const at::Tensor x = sample.to(at::kFloat), out = model_output.to(at::kFloat);
  const float signal = std::sqrt(abar), sigma = std::sqrt(1.0f - abar);
  if (config_.prediction == Prediction::kVelocity) return {signal * x - sigma * out, signal * out + sigma * x};
  return {(x - sigma * out) / signal, out};
}

}  // namespace diffmine
