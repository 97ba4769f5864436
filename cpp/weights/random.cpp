#include "weights/random.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <string>

#include "core/error.h"
#include "diffusion/noise.h"

namespace diffmine {
namespace {

// Every synthetic tensor is a slice of one block of noise: drawing 860 M normal values would take longer than the
// benchmark.
constexpr int64_t kBlock = int64_t{1} << 25;

int64_t count_of(at::IntArrayRef shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

bool is_norm_scale(const std::string& name, at::IntArrayRef shape) {
  return shape.size() == 1 && name.find("norm") != std::string::npos && name.ends_with(".weight");
}

// 1 / sqrt(inputs of one output).
double scale_of(at::IntArrayRef shape) { return 1 / std::sqrt(static_cast<double>(count_of(shape) / shape[0])); }

// FNV-1a: the same on every machine, unlike std::hash.
uint32_t hash(const std::string& name) {
  uint32_t h = 2166136261u;
  for (const unsigned char c : name) h = (h ^ c) * 16777619u;
  return h;
}

bool ends_branch(const std::string& name) {
  for (const char* end :
       {"conv2.weight", "conv_out.weight", "proj_out.weight", "to_out.0.weight", "ff.net.2.weight", "lora_B.weight"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

}  // namespace

WeightStore synthetic_weights(uint64_t seed) {
  const at::Tensor noise = draw_noise(seed, 0, 1, {kBlock}, Stream::kWeights, at::kCPU).flatten();
  return WeightStore([noise](const std::string& name, at::IntArrayRef shape) -> at::Tensor {
    if (is_norm_scale(name, shape)) return at::ones(shape);
    const int64_t count = count_of(shape);
    if (count > kBlock)
      throw Error(code::kInvalidArgument, "A synthetic tensor of " + std::to_string(count) + " elements is too large.");
    const int64_t start = static_cast<int64_t>(hash(name) % static_cast<uint64_t>(kBlock - count + 1));
    return noise.slice(0, start, start + count).view(shape) *
           (shape.size() > 1 ? scale_of(shape) : 0.1);  // biases stay small
  });
}

WeightStore initial_weights(uint64_t seed) {
  return WeightStore([seed](const std::string& name, at::IntArrayRef shape) -> at::Tensor {
    if (is_norm_scale(name, shape)) return at::ones(shape);
    if (shape.size() < 2 || ends_branch(name)) return at::zeros(shape);
    const bool table =
        name.find("embedding.weight") != std::string::npos;  // looked up, not multiplied: its rows are of order one
    return draw_noise(seed, hash(name), 1, shape, Stream::kWeights, at::kCPU)[0] * (table ? 1 : scale_of(shape));
  });
}

}  // namespace diffmine
