// T5EncoderModel (T5 v1.1): the third text encoder of Stable Diffusion 3.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "core/context.h"
#include "weights/weight_store.h"

namespace diffmine {

struct T5Config {
  int64_t vocab_size = 32128, d_model = 4096, d_kv = 64, d_ff = 10240;
  int64_t num_layers = 24, num_heads = 64;
  int64_t relative_attention_num_buckets = 32, relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;
};

// Its weights are more than twice those of Stable Diffusion 3 medium and are used once a run. They stay in their mapped
// files, from which each pass copies one layer at a time to the device.
class T5Encoder {
 public:
  // Checks names and shapes; values are read by `forward`.
  T5Encoder(const T5Config& config, WeightStore& weights, const at::Device& device);
  ~T5Encoder();
  T5Encoder(T5Encoder&&) noexcept;
  const T5Config& config() const;
  // ids [M, tokens] int64 -> [M, tokens, d_model] fp32. Always computed in fp32. Padding is attended to, as diffusers
  // gives no mask. Cancelled between layers.
  at::Tensor forward(const at::Tensor& ids, const Context& context = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Buckets of the distances from each query (rows) to each key, [tokens, tokens] int64: half of them for keys that
// follow, exact up to a quarter of them, then logarithmic up to max_distance.
at::Tensor t5_buckets(int64_t tokens, int64_t buckets, int64_t max_distance);

}  // namespace diffmine
