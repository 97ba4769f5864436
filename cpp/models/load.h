// Where the parts of a model come from, and loading them onto a device.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/context.h"
#include "core/engine_options.h"
#include "models/dit.h"
#include "models/model.h"
#include "models/sd3.h"
#include "models/t5.h"
#include "models/unet.h"
#include "weights/lora.h"
#include "weights/renamed.h"
#include "weights/weight_store.h"

namespace diffmine {

// The weights of one part: files, or random ones of a seed, with low-rank updates merged in.
struct WeightSource {
  std::vector<std::string> files;
  std::optional<uint64_t> synthetic, initial;
  std::optional<std::pair<std::string, double>> lora;  // file and scale
  std::vector<RenamedTensor> tensors = {};             // of `files`, if they are named otherwise; empty: as they are
  std::vector<LowRankUpdate> updates = {};             // instead of `lora`

  WeightStore open() const;
};

template <class Config>
struct ModelPart {
  Config config;
  WeightSource weights;
};

// One for each kind of denoiser.
using DenoiserConfig = std::variant<UNetConfig, DiTConfig, Sd3Config>;

struct ModelSource {
  ModelPart<DenoiserConfig> denoiser;
  std::optional<ModelPart<VaeConfig>> vae;
  std::vector<ModelPart<TextEncoderConfig>> text_encoders;
  std::optional<ModelPart<T5Config>> t5;
  ScheduleConfig schedule;
};

// As the constructor of the config's kind.
std::shared_ptr<Denoiser> load_denoiser(const DenoiserConfig& config, WeightStore& weights, const at::Device& device,
                                        at::ScalarType dtype, const Context& context, const DenoiserOptions& options);

// Reads the headers of all parts before it copies any weights, so that damaged files are found first. Reports tensors
// as stage "load".
Model load_model(const ModelSource& source, const at::Device& device, at::ScalarType dtype,
                 const EngineOptions& options, const Context& context);

}  // namespace diffmine
