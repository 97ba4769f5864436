// A part of a model as JS gives it: configuration and weights.
#pragma once
#include "convert.h"
#include "models/load.h"

namespace diffmine::binding {

template <class Config>
ModelPart<Config> part_argument(const Arg& arg, Config (*config)(const Arg&)) {
  ModelPart<Config> part{config(arg["config"]), {arg["files"].strings(), {}, {}, {}}};
  WeightSource& weights = part.weights;
  if (arg["synthetic"].present()) weights.synthetic = arg["synthetic"].uint64();
  if (arg["initial"].present()) weights.initial = arg["initial"].uint64();
  if (const Arg lora = arg["lora"]; lora.present()) weights.lora.emplace(lora["file"].string(), lora["scale"].number());
  if (weights.files.empty() && !weights.synthetic && !weights.initial)
    arg["files"].fail("at least one safetensors file");
  return part;
}

// Of a model's source.
ModelPart<DenoiserConfig> denoiser_argument(const Arg& source);

}  // namespace diffmine::binding
