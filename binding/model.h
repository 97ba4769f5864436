// A part of a model as JS gives it: configuration and weights.
#pragma once
#include "convert.h"
#include "models/load.h"

namespace diffmine::binding {

template <class Config>
ModelPart<Config> part_argument(const Arg& arg, Config (*config)(const Arg&)) {
  ModelPart<Config> part{config(arg["config"]), {arg["files"].strings(), {}, {}, {}, {}, {}}};
  WeightSource& weights = part.weights;
  if (arg["synthetic"].present()) weights.synthetic = arg["synthetic"].uint64();
  if (arg["initial"].present()) weights.initial = arg["initial"].uint64();
  if (const Arg lora = arg["lora"]; lora.present()) weights.lora.emplace(lora["file"].string(), lora["scale"].number());
  const auto each = [](const Arg& list, const auto& use) {
    if (!list.present()) return;
    for (const Arg& item : list.items()) use(item);
  };
  each(arg["tensors"], [&](const Arg& tensor) {
    RenamedTensor& one = weights.tensors.emplace_back();
    one.name = tensor["name"].string();
    one.stored = tensor["stored"].string();
    if (const Arg rows = tensor["rows"]; rows.present()) {
      const std::vector<int64_t> range = rows.integers(0);
      if (range.size() != 2) rows.fail("two whole numbers");
      one.begin = range[0];
      one.end = range[1];
    }
    one.transposed = tensor["transposed"].boolean(false);
    if (const Arg shape = tensor["shape"]; shape.present()) one.shape = shape.integers(1);
  });
  each(arg["updates"], [&](const Arg& update) {
    weights.updates.push_back({update["weight"].string(), update["file"].string(), update["down"].string(),
                               update["up"].string(), update["scale"].number()});
    if (const Arg rows = update["rows"]; rows.present()) {
      const std::vector<int64_t> range = rows.integers(0);
      if (range.size() != 2) rows.fail("two whole numbers");
      weights.updates.back().begin = range[0];
      weights.updates.back().end = range[1];
    }
  });
  if (weights.files.empty() && !weights.synthetic && !weights.initial)
    arg["files"].fail("at least one safetensors file");
  return part;
}

// Of a model's source.
ModelPart<DenoiserConfig> denoiser_argument(const Arg& source);

}  // namespace diffmine::binding
