// A part of a model as JS gives it: configuration and files.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert.h"
#include "models/unet.h"
#include "weights/lora.h"
#include "weights/random.h"

namespace diffmine::binding {

template <class Config>
struct Part {
  Config config;
  std::vector<std::string> files;
  std::optional<uint64_t> synthetic, initial;  // random weights of a seed, in place of files
  std::optional<std::pair<std::string, double>> lora;  // low-rank updates: file and scale

  WeightStore weights() const {
    WeightStore store = synthetic ? synthetic_weights(*synthetic) : initial ? initial_weights(*initial) : WeightStore(files);
    if (lora) merge_lora(store, lora->first, lora->second);
    return store;
  }
};

template <class Config>
Part<Config> part_argument(const Arg& arg, Config (*config)(const Arg&)) {
  Part<Config> part{config(arg["config"]), arg["files"].strings(), {}, {}, {}};
  if (arg["synthetic"].present()) part.synthetic = arg["synthetic"].uint64();
  if (arg["initial"].present()) part.initial = arg["initial"].uint64();
  if (const Arg lora = arg["lora"]; lora.present()) part.lora.emplace(lora["file"].string(), lora["scale"].number());
  if (part.files.empty() && !part.synthetic && !part.initial) arg["files"].fail("at least one safetensors file");
  return part;
}

UNetConfig unet_config(const Arg& arg);

}  // namespace diffmine::binding
