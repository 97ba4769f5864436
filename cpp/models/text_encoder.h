// CLIPTextModel: the text encoder of Stable Diffusion 1.x and 2.x.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/context.h"
#include "core/engine_options.h"
#include "weights/weight_store.h"

namespace diffmine {

struct TextEncoderConfig {
  int64_t vocab_size = 49408, hidden_size = 768, intermediate_size = 3072, num_hidden_layers = 12,
          num_attention_heads = 12;
  int64_t max_position_embeddings = 77;
  double layer_norm_eps = 1e-5;
  std::string hidden_act = "quick_gelu";  // or gelu
};

class TextEncoder {
 public:
  // Tensor names with and without the "text_model." prefix load.
  TextEncoder(const TextEncoderConfig& config, WeightStore& weights, const at::Device& device,
              const Context& context = {}, const EngineOptions& options = {});
  ~TextEncoder();
  TextEncoder(TextEncoder&&) noexcept;
  const TextEncoderConfig& config() const;
  // ids [M, 77] int64 -> last_hidden_state after the final LayerNorm [M, 77, hidden] fp32. Always computed in fp32.
  at::Tensor forward(const at::Tensor& ids) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffmine
