// Schedules and DDIM against diffusers' numbers.
#include "diffusion/schedule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>

#include "tests/support.h"
#include "weights/safetensors.h"

using namespace diffmine;
using namespace diffmine::test;

namespace {

// scheduler_config.json of SD 1.x (PNDM: no clip_sample key in use, final level alpha_bar_0).
ScheduleConfig sd15() {
  ScheduleConfig config;
  config.set_alpha_to_one = false;
  config.steps_offset = 1;
  config.clip_sample = false;
  return config;
}

}  // namespace

TEST_CASE("schedule: betas and alphas_cumprod of the three schedules") {
  const auto file = SafetensorsFile::open(golden("common-golden/golden.safetensors"));
  struct Case {
    const char* name;
    double start, end;
  };
  for (const Case& c :
       {Case{"scaled_linear", 0.00085, 0.012}, Case{"linear", 0.0001, 0.02}, Case{"squaredcos_cap_v2", 0.0001, 0.02}}) {
    CAPTURE(c.name);
    ScheduleConfig config;
    config.beta_schedule = c.name;
    config.beta_start = c.start;
    config.beta_end = c.end;
    const Schedule schedule(config);
    const std::string id = std::string("schedule_") + c.name;
    CHECK(close(schedule.betas(), file->tensor(id + ".out.betas"), 1e-6, 1e-5));
    CHECK(close(schedule.alphas_cumprod(), file->tensor(id + ".out.alphas_cumprod"), 1e-6, 1e-5));
  }
}

TEST_CASE("schedule: impossible configurations are refused") {
  ScheduleConfig config;
  config.beta_schedule = "sigmoid";
  CHECK(error_code([&] { Schedule schedule(config); }) == code::kModelUnsupported);
  config = {};
  config.train_timesteps = 0;
  CHECK(error_code([&] { Schedule schedule(config); }) == code::kModelInvalid);
  config = {};
  config.beta_end = 1.5;
  CHECK(error_code([&] { Schedule schedule(config); }) == code::kModelInvalid);
}

TEST_CASE("ddim_timesteps: leading spacing") {
  const auto file = SafetensorsFile::open(golden("common-golden/golden.safetensors"));
  const Schedule schedule(sd15());
  for (const int64_t steps : {10, 20, 50, 999}) {
    CAPTURE(steps);
    const at::Tensor want = file->tensor("ddim_timesteps_" + std::to_string(steps) + ".out.timesteps");
    CHECK(at::tensor(schedule.ddim_timesteps(steps)).equal(want));
  }
  for (const int64_t steps : {-1, 0, 1000, 1001}) {  // 1000 steps and the offset of 1 would reach t = 1000
    CAPTURE(steps);
    CHECK(error_code([&] { schedule.ddim_timesteps(steps); }) == code::kInvalidArgument);
  }
}

TEST_CASE("add_noise and velocity") {
  for (const char* name : {"tiny-sd15-golden", "tiny-fold-golden"}) {
    CAPTURE(name);
    const auto file = SafetensorsFile::open(golden(std::string(name) + "/golden.safetensors"));
    const at::Tensor x0 = file->tensor("add_noise.in.x0"), noise = file->tensor("add_noise.in.noise"),
                     t = file->tensor("add_noise.in.t");
    const Schedule schedule(std::string(name) == "tiny-sd15-golden" ? sd15() : [] {
      ScheduleConfig config;
      config.beta_schedule = "linear";
      config.beta_start = 0.0001;
      config.beta_end = 0.02;
      return config;
    }());
    CHECK(close(schedule.add_noise(x0, noise, t), file->tensor("add_noise.out.noisy"), 1e-5, 1e-5));
    CHECK(close(schedule.velocity(x0, noise, t), file->tensor("add_noise.out.velocity"), 1e-5, 1e-5));
    CHECK(schedule.target(x0, noise, t).equal(noise));
    CHECK(error_code([&] { schedule.add_noise(x0, noise, t + 1000); }) == code::kInvalidArgument);
    CHECK(error_code([&] { schedule.add_noise(x0, noise, t.slice(0, 0, 1)); }) == code::kInvalidArgument);
  }
  ScheduleConfig config = sd15();
  config.prediction = Prediction::kVelocity;
  const Schedule schedule(config);
  const at::Tensor x0 = at::randn({2, 4, 3, 3}), noise = at::randn({2, 4, 3, 3}),
                   t = at::tensor(std::vector<int64_t>{5, 800});
  CHECK(schedule.target(x0, noise, t).equal(schedule.velocity(x0, noise, t)));
}

TEST_CASE("ddim_step: the golden steps") {
  const auto file = SafetensorsFile::open(golden("tiny-sd15-golden/golden.safetensors"));
  const Schedule schedule(sd15());
  for (const char* id : {"ddim_step_0", "ddim_step_1"}) {
    CAPTURE(id);
    const std::string name = id;
    const Schedule::Step step =
        schedule.ddim_step(file->tensor(name + ".in.model_output"), 601, file->tensor(name + ".in.sample"), 10);
    CHECK(close(step.prev_sample, file->tensor(name + ".out.prev_sample"), 1e-5, 1e-5));
    CHECK(close(step.pred_x0, file->tensor(name + ".out.pred_x0"), 1e-5, 1e-5));
  }
}

TEST_CASE("ddim_step: clipping bounds x0 and keeps the predicted noise") {
  ScheduleConfig config = sd15();
  config.clip_sample = true;
  config.clip_sample_range = 0.5;
  const Schedule schedule(config);
  const at::Tensor x = at::randn({1, 4, 8, 8}) * 3, out = at::randn({1, 4, 8, 8});
  const Schedule::Step step = schedule.ddim_step(out, 601, x, 10);
  CHECK(step.pred_x0.abs().max().item<double>() == doctest::Approx(0.5));
  const double abar = schedule.alphas_cumprod()[501].item<double>();
  CHECK(close(step.prev_sample, step.pred_x0 * std::sqrt(abar) + out * std::sqrt(1 - abar), 1e-5, 1e-5));
}

TEST_CASE("ddim: the level before the first timestep") {
  ScheduleConfig config = sd15();
  const at::Tensor x = at::randn({1, 4, 4, 4}), out = at::randn({1, 4, 4, 4});
  for (const bool one : {true, false}) {
    CAPTURE(one);
    config.set_alpha_to_one = one;
    const Schedule schedule(config);
    const double abar = one ? 1.0 : schedule.alphas_cumprod()[0].item<double>();
    const Schedule::Step step = schedule.ddim_step(out, 1, x, 10);
    CHECK(close(step.prev_sample, step.pred_x0 * std::sqrt(abar) + out * std::sqrt(1 - abar), 1e-6, 1e-6));
  }
}

TEST_CASE("ddim_invert_step undoes ddim_step, for both predictions, at every level") {
  // With the same noise prediction a step down and its inversion cancel. A velocity model says v = sqrt(abar) eps -
  // sqrt(1 - abar) x0 at its own level: the inversion's output is given at the lower one.
  for (const Prediction prediction : {Prediction::kEpsilon, Prediction::kVelocity}) {
    ScheduleConfig config = sd15();
    config.prediction = prediction;
    const Schedule schedule(config);
    const at::Tensor x = at::randn({1, 4, 6, 6}, at::kDouble).to(at::kFloat), eps = at::randn({1, 4, 6, 6});
    for (const int64_t t : schedule.ddim_timesteps(10)) {
      CAPTURE(t);
      const double here = schedule.alphas_cumprod()[t].item<double>();
      const double there = schedule.alphas_cumprod()[std::max<int64_t>(0, t - 100)].item<double>();
      const at::Tensor x0 = (x - eps * std::sqrt(1 - here)) / std::sqrt(here);
      const bool velocity = prediction == Prediction::kVelocity;
      const at::Tensor up = velocity ? eps * std::sqrt(here) - x0 * std::sqrt(1 - here) : eps;
      const at::Tensor down = velocity ? eps * std::sqrt(there) - x0 * std::sqrt(1 - there) : eps;
      const Schedule::Step step = schedule.ddim_step(up, t, x, 10);
      CHECK(close(step.pred_x0, x0, 1e-4, 1e-4));
      CHECK(close(schedule.ddim_invert_step(down, t, step.prev_sample, 10), x, 1e-4, 1e-4));
    }
  }
}
