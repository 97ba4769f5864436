// The transformer of UNet2DConditionModel's CrossAttn* blocks.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/engine_options.h"
#include "models/layers.h"
#include "models/unet_pass.h"

namespace diffmine {

struct UNetConfig;

// GroupNorm, projection in, transformer blocks (self-attention, cross-attention, GEGLU feed-forward), projection out,
// residual.
struct Transformer {
  struct Block {
    std::string path;
    LayerNorm norm1, norm2, norm3;
    Linear qkv, out1;  // self-attention
    Linear q2, k2, v2, out2;
    Linear ff_in, ff_out;
    size_t cross_index = 0;  // into Conditions::keys_values
  };
  std::string path;
  GroupNorm norm;
  Linear proj_in, proj_out;
  std::vector<Block> blocks;
  int64_t heads = 1;
  bool fused = false;
  EngineOptions options;

  static Transformer load(Loader& loader, const std::string& name, const UNetConfig& config, int64_t channels,
                          int64_t heads, int64_t layers, size_t& cross_count);

  // Writes keys and values of `text` [M, tokens, D] to each block's place.
  void prepare(const at::Tensor& text, std::vector<std::pair<at::Tensor, at::Tensor>>& keys_values) const;
  at::Tensor run(const at::Tensor& x, const Pass& pass) const;

 private:
  std::pair<at::Tensor, at::Tensor> keys_values(const Block& block, const Pass& pass) const;
  at::Tensor gated(const at::Tensor& x) const;
};

}  // namespace diffmine
