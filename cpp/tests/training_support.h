// Trainers of the tiny models, and the golden batches.
#pragma once
#include <ATen/ops/equal.h>

#include <memory>
#include <string>

#include "tiny_models.h"
#include "training/trainer.h"

namespace diffmine::testing {

inline std::shared_ptr<UNet> trainable(const std::string& variant, at::ScalarType dtype = at::kFloat,
                                       const DenoiserOptions& options = {.trainable = true}) {
  WeightStore weights({golden_path(variant + "/unet/diffusion_pytorch_model.safetensors")});
  return std::make_shared<UNet>(variant == "tiny-fold" ? tiny_fold_unet() : tiny_sd15_unet(), weights, at::kCPU, dtype,
                                Context{}, options);
}

inline std::shared_ptr<const Schedule> schedule_of(const std::string& variant) {
  ScheduleConfig config;
  if (variant == "tiny-fold") {
    config.beta_schedule = "linear";
    config.beta_start = 0.0001;
    config.beta_end = 0.02;
  }
  return std::make_shared<Schedule>(config);
}

inline std::shared_ptr<SafetensorsFile> golden_of(const std::string& variant) {
  return SafetensorsFile::open(golden_path(variant + "-golden/golden.safetensors"));
}

inline at::Tensor golden_conditions(const std::string& variant) {
  return golden_of(variant)->tensor(variant == "tiny-fold" ? "cond.out.labels" : "cond.out.last_hidden_state").clone();
}

inline TrainingBatch golden_batch(const std::string& variant, const std::string& id) {
  const auto golden = golden_of(variant);
  return {golden->tensor(id + ".in.x0"), golden->tensor(id + ".in.cond_index"), golden->tensor(id + ".in.noise"),
          golden->tensor(id + ".in.t")};
}

inline TrainerOptions fast(double rate = 1e-3) {
  TrainerOptions options;
  options.rate.peak = rate;
  return options;
}

inline Trainer trainer_of(const std::string& variant, const TrainerOptions& options,
                          at::ScalarType dtype = at::kFloat) {
  return {trainable(variant, dtype), schedule_of(variant), golden_conditions(variant), options};
}

// A batch whose noise and timesteps the trainer draws.
inline TrainingBatch drawn_batch(const std::string& variant) {
  auto batch = golden_batch(variant, "train");
  batch.noise = batch.timesteps = at::Tensor();
  return batch;
}

inline TrainingBatch rows(const TrainingBatch& batch, int64_t begin, int64_t end) {
  const auto cut = [&](const at::Tensor& x) { return x.defined() ? x.slice(0, begin, end) : x; };
  return {cut(batch.x0), cut(batch.conditions), cut(batch.noise), cut(batch.timesteps)};
}

inline bool same(const Trainer& a, const Trainer& b, Trainer::Which which) {
  for (const auto& [name, tensor] : a.denoiser().parameters()) {
    const auto one = a.tensor(which, name), other = b.tensor(which, name);
    if (one.defined() != other.defined() || (one.defined() && !at::equal(one, other))) return false;
  }
  return true;
}

}  // namespace diffmine::testing
