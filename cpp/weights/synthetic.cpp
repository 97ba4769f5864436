// Random weights for benchmarks: a full model in memory without a download.
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <string>

#include "core/error.h"
#include "diffusion/noise.h"
#include "weights/safetensors.h"

namespace diffmine {

namespace {
// Every tensor is a slice of one block of noise: drawing 860 M normal numbers would take longer than the benchmark.
constexpr int64_t kBlock = int64_t{1} << 25;
}  // namespace

WeightStore WeightStore::synthetic(uint64_t seed) {
  WeightStore store;
  store.noise_ = draw_noise(seed, 0, 1, {kBlock}, Stream::kTraining, at::kCPU).flatten();
  return store;
}

at::Tensor WeightStore::synthesize(const std::string& name, at::IntArrayRef shape) const {
  const bool norm = name.find("norm") != std::string::npos;
  if (norm && name.ends_with(".weight")) return at::ones(shape);
  const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  if (count > kBlock) throw Error(code::kInvalidArgument, "A synthetic tensor of " + std::to_string(count) + " numbers is too large.");
  const int64_t start = static_cast<int64_t>(std::hash<std::string>{}(name) % static_cast<uint64_t>(kBlock - count + 1));
  const int64_t fan_in = shape.size() > 1 ? count / shape[0] : 100;  // biases stay small
  return noise_.slice(0, start, start + count).view(shape) * (1 / std::sqrt(static_cast<double>(fan_in)));
}

}  // namespace diffmine
