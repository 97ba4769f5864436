// Attention of UNet, VAE and text encoder.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "models/layers.h"
#include "models/observer.h"

namespace diffmine {

// softmax(q k^T / sqrt(d)) v; q [B, heads, N, d], k and v [B, heads, M, d]. Scores are made, scaled and exponentiated
// in fp32 whatever the dtype, by each of the kernels this may come to: scores beyond fp16's 65504 are no trouble, and
// models with `upcast_attention` need nothing else.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const EngineOptions& options = {},
                     bool causal = false);

// [B, N, C] -> [B, heads, N, C / heads], and back.
at::Tensor split_heads(const at::Tensor& x, int64_t heads);
at::Tensor merge_heads(const at::Tensor& x);

// The residual self-attention block of AttnDownBlock2D / AttnUpBlock2D and of the VAE's middle: GroupNorm, q, k, v and
// out with biases.
class SpatialAttention {
 public:
  SpatialAttention() = default;
  static SpatialAttention load(Loader& loader, const std::string& name, int64_t channels, int64_t heads, int64_t groups,
                               double eps);
  // The observer sees queries and keys [B, H W, C] as "to_q" and "to_k" below the block's path.
  at::Tensor operator()(const at::Tensor& x, const Observer* observer = nullptr) const;

 private:
  std::string path_;
  GroupNorm norm_;
  Linear qkv_, out_;
  int64_t heads_ = 1;
  EngineOptions options_;
};

}  // namespace diffmine
