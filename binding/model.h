// A part of a model as JS gives it: configuration and files.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert.h"
#include "models/unet.h"
#include "weights/safetensors.h"

namespace diffmine::binding {

template <class Config>
struct Part {
  Config config;
  std::vector<std::string> files;
  std::optional<uint64_t> synthetic;  // random weights in place of files

  WeightStore weights() const { return synthetic ? WeightStore::synthetic(*synthetic) : WeightStore(files); }
};

template <class Config>
Part<Config> part_argument(const Arg& arg, Config (*config)(const Arg&)) {
  Part<Config> part{config(arg["config"]), arg["files"].strings(), std::nullopt};
  if (arg["synthetic"].present()) part.synthetic = arg["synthetic"].uint64();
  if (part.files.empty() && !part.synthetic) arg["files"].fail("at least one safetensors file");
  return part;
}

UNetConfig unet_config(const Arg& arg);

}  // namespace diffmine::binding
