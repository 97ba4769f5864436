// Arguments that noise, typicality and features share.
#pragma once
#include "convert.h"
#include "diffusion/noise.h"
#include "diffusion/schedule.h"

namespace diffmine::binding {

inline Sampler sampler_argument(const Arg& arg) {
  return arg.choice<Sampler>({{"stratified", Sampler::kStratified}, {"reference", Sampler::kReference}});
}

ScheduleConfig schedule_argument(const Arg& arg);
// Timesteps of the schedule [N]: int64, or fp32 of a flow.
at::Tensor timesteps_argument(const Arg& arg, const Schedule& schedule);

}  // namespace diffmine::binding
