// CLIPTextModel and CLIPTextModelWithProjection: the text encoders of Stable Diffusion.
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
  bool penultimate = false;               // embeddings are what enters the last layer, without the final LayerNorm
  int64_t projection_dim = 0;             // width of the prompt's embedding; 0: none
  // The token whose state becomes the prompt's embedding: its first place. 2, which published configs have by mistake,
  // stands for the largest id of the prompt.
  int64_t eos_token_id = 2;
};

struct TextEmbeddings {
  at::Tensor text;    // [M, tokens, hidden] fp32
  at::Tensor pooled;  // [M, projection_dim] fp32; undefined without a projection
};

class TextEncoder {
 public:
  // Tensor names with and without the "text_model." prefix load. Weights stay in the dtype they are stored in: they are
  // used once a run, and those of SDXL's second encoder in fp32 would take more memory than half its UNet in fp16.
  TextEncoder(const TextEncoderConfig& config, WeightStore& weights, const at::Device& device,
              const Context& context = {}, const EngineOptions& options = {});
  ~TextEncoder();
  TextEncoder(TextEncoder&&) noexcept;
  const TextEncoderConfig& config() const;
  int64_t weight_bytes() const;  // held
  // ids [M, 77] int64. Always computed in fp32; `text` is the last state after the final LayerNorm, or `penultimate`.
  TextEmbeddings forward(const at::Tensor& ids) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffmine
