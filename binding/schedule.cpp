// Noise schedules and DDIM steps: small, so they run where they are called.
#include "diffusion/schedule.h"

#include <ATen/ops/tensor.h>

#include "calls.h"
#include "sampling.h"

namespace diffmine::binding {

ScheduleConfig schedule_argument(const Arg& arg) {
  ScheduleConfig config;
  config.train_timesteps = arg["trainTimesteps"].integer(1, 1'000'000);
  config.prediction = arg["prediction"].choice<Prediction>(
      {{"epsilon", Prediction::kEpsilon}, {"v_prediction", Prediction::kVelocity}, {"flow", Prediction::kFlow}});
  if (config.prediction == Prediction::kFlow) {
    config.shift = arg["shift"].number();
    return config;
  }
  config.beta_schedule = arg["betaSchedule"].string();
  config.beta_start = arg["betaStart"].number();
  config.beta_end = arg["betaEnd"].number();
  config.set_alpha_to_one = arg["setAlphaToOne"].boolean(true);
  config.steps_offset = arg["stepsOffset"].integer(0);
  config.clip_sample = arg["clipSample"].boolean(true);
  config.clip_sample_range = arg["clipSampleRange"].number();
  return config;
}

at::Tensor timesteps_argument(const Arg& arg, const Schedule& schedule) {
  const int64_t count = schedule.config().train_timesteps;
  if (!schedule.flow()) return at::tensor(arg.integers(0, count - 1), at::kLong);
  const auto timesteps = arg.numbers();
  for (const double t : timesteps) {
    if (t < 0 || t > static_cast<double>(count)) arg.fail("timesteps of 0 ... " + std::to_string(count));
  }
  return at::tensor(timesteps, at::kFloat);
}

Napi::Value schedule(Info info) {
  const Schedule schedule(schedule_argument({info[0], "config"}));
  if (schedule.flow()) throw Error(code::kInvalidArgument, "A flow has no betas.");
  Napi::Object result = Napi::Object::New(info.Env());
  result["betas"] = to_js(info.Env(), own(schedule.betas()));
  result["alphasCumprod"] = to_js(info.Env(), own(schedule.alphas_cumprod()));
  return result;
}

Napi::Value add_noise(Info info) {
  const Schedule schedule(schedule_argument({info[0], "config"}));
  const at::Tensor x0 = Arg(info[1], "x0").tensor(at::kFloat), noise = Arg(info[2], "noise").tensor(at::kFloat);
  const Arg steps(info[3], "timesteps");
  const at::Tensor t = timesteps_argument(steps, schedule);
  if (x0.sizes() != noise.sizes()) throw Error(code::kInvalidArgument, "Expected x0 and noise of the same shape.");
  if (x0.dim() < 1 || x0.size(0) != t.size(0)) steps.fail("one timestep for each of x0");
  Napi::Object result = Napi::Object::New(info.Env());
  result["noisy"] = to_js(info.Env(), own(schedule.add_noise(x0, noise, t)));
  result["velocity"] = to_js(info.Env(), own(schedule.velocity(x0, noise, t)));
  return result;
}

Napi::Value flow_steps(Info info) {
  const Schedule schedule(schedule_argument({info[0], "config"}));
  const auto steps = schedule.flow_steps(Arg(info[1], "steps").integer(1, schedule.config().train_timesteps));
  Napi::Object result = Napi::Object::New(info.Env());
  result["timesteps"] = to_js(info.Env(), steps.timesteps);
  result["sigmas"] = to_js(info.Env(), steps.sigmas);
  return result;
}

Napi::Value flow_step(Info info) {
  const double sigma = Arg(info[0], "sigma").number(), next = Arg(info[1], "next").number();
  const at::Tensor sample = Arg(info[2], "sample").tensor(at::kFloat),
                   velocity = Arg(info[3], "modelOutput").tensor(at::kFloat);
  if (sample.sizes() != velocity.sizes())
    throw Error(code::kInvalidArgument, "Expected sample and modelOutput of the same shape.");
  return to_js(info.Env(), own(Schedule::flow_step(velocity, sigma, next, sample)));
}

Napi::Value ddim_timesteps(Info info) {
  const Schedule schedule(schedule_argument({info[0], "config"}));
  return to_js(info.Env(),
               schedule.ddim_timesteps(Arg(info[1], "steps").integer(1, schedule.config().train_timesteps)));
}

namespace {

struct DdimArguments {
  Schedule schedule;
  int64_t steps, t;
  at::Tensor sample, model_output;

  explicit DdimArguments(Info info)
      : schedule(schedule_argument({info[0], "config"})),
        steps(Arg(info[1], "steps").integer(1, schedule.config().train_timesteps)),
        t(Arg(info[2], "t").integer(0, schedule.config().train_timesteps - 1)),
        sample(Arg(info[3], "sample").tensor(at::kFloat)),
        model_output(Arg(info[4], "modelOutput").tensor(at::kFloat)) {
    if (sample.sizes() != model_output.sizes())
      throw Error(code::kInvalidArgument, "Expected sample and modelOutput of the same shape.");
  }
};

}  // namespace

Napi::Value ddim_step(Info info) {
  const DdimArguments a(info);
  const Schedule::Step step = a.schedule.ddim_step(a.model_output, a.t, a.sample, a.steps);
  Napi::Object result = Napi::Object::New(info.Env());
  result["prevSample"] = to_js(info.Env(), own(step.prev_sample));
  result["predX0"] = to_js(info.Env(), own(step.pred_x0));
  return result;
}

Napi::Value ddim_invert_step(Info info) {
  const DdimArguments a(info);
  return to_js(info.Env(), own(a.schedule.ddim_invert_step(a.model_output, a.t, a.sample, a.steps)));
}

}  // namespace diffmine::binding
