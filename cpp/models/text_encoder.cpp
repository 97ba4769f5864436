#include "models/text_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/sigmoid.h>

#include <vector>

#include "models/attention.h"

namespace diffmine {
namespace {

struct Layer {
  LayerNorm norm1, norm2;
  Linear qkv, out, fc1, fc2;
};

}  // namespace

struct TextEncoder::Impl {
  TextEncoderConfig config;
  at::Device device = at::kCPU;
  at::Tensor tokens, positions;  // [vocab, hidden], [77, hidden]
  std::vector<Layer> layers;
  LayerNorm final_norm;

  void load(WeightStore& weights, const Context& context, const EngineOptions& options) {
    // transformers 5 writes without the prefix that older files have; position_ids is a constant that some files carry.
    weights.rename([](const std::string& name) { return name.starts_with("text_model.") ? name.substr(11) : name; });
    Loader loader(weights, device, at::kFloat, context, options);
    const int64_t d = config.hidden_size;
    if (config.num_attention_heads <= 0 || d % config.num_attention_heads) {
      throw Error(code::kModelInvalid, "The text encoder's hidden_size " + std::to_string(d) +
                                           " is not a multiple of its num_attention_heads.");
    }
    if (config.hidden_act != "quick_gelu" && config.hidden_act != "gelu") {
      throw Error(code::kModelUnsupported,
                  "The text encoder's hidden_act \"" + config.hidden_act + "\" is not supported.",
                  "Supported: quick_gelu and gelu.");
    }
    tokens = loader.take("embeddings.token_embedding.weight", {config.vocab_size, d});
    positions = loader.take("embeddings.position_embedding.weight", {config.max_position_embeddings, d});
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string p = "encoder.layers." + std::to_string(i);
      Layer layer;
      layer.norm1 = LayerNorm::load(loader, p + ".layer_norm1", d, config.layer_norm_eps);
      layer.qkv = Linear::packed(loader, {p + ".self_attn.q_proj", p + ".self_attn.k_proj", p + ".self_attn.v_proj"}, d,
                                 d, true);
      layer.out = Linear::load(loader, p + ".self_attn.out_proj", d, d);
      layer.norm2 = LayerNorm::load(loader, p + ".layer_norm2", d, config.layer_norm_eps);
      layer.fc1 = Linear::load(loader, p + ".mlp.fc1", d, config.intermediate_size);
      layer.fc2 = Linear::load(loader, p + ".mlp.fc2", config.intermediate_size, d);
      layers.push_back(std::move(layer));
    }
    final_norm = LayerNorm::load(loader, "final_layer_norm", d, config.layer_norm_eps);
    weights.expect_all_taken({"position_ids"});
  }
};

TextEncoder::TextEncoder(const TextEncoderConfig& config, WeightStore& weights, const at::Device& device,
                         const Context& context, const EngineOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->device = device;
  impl_->load(weights, context, options);
}
TextEncoder::~TextEncoder() = default;
TextEncoder::TextEncoder(TextEncoder&&) noexcept = default;
const TextEncoderConfig& TextEncoder::config() const { return impl_->config; }

at::Tensor TextEncoder::forward(const at::Tensor& ids) const {
  const auto& m = *impl_;
  if (ids.dim() != 2 || ids.scalar_type() != at::kLong || ids.size(1) > m.config.max_position_embeddings) {
    throw Error(code::kInvalidArgument, "The text encoder takes token ids [M, up to " +
                                            std::to_string(m.config.max_position_embeddings) + "] int64.");
  }
  if (ids.numel() && (ids.min().item<int64_t>() < 0 || ids.max().item<int64_t>() >= m.config.vocab_size)) {
    throw Error(code::kInvalidArgument,
                "A token id is outside the text encoder's vocabulary of " + std::to_string(m.config.vocab_size) + ".",
                "Does the tokenizer belong to this text encoder?");
  }
  auto h = at::embedding(m.tokens, ids.to(m.device)) + m.positions.slice(0, 0, ids.size(1));
  for (const auto& layer : m.layers) {
    const auto qkv = layer.qkv(layer.norm1(h)).chunk(3, -1);
    const int64_t heads = m.config.num_attention_heads;
    h = layer
            .out(merge_heads(attention(split_heads(qkv[0], heads), split_heads(qkv[1], heads),
                                       split_heads(qkv[2], heads), {}, /*causal=*/true)))
            .add_(h);
    auto inner = layer.fc1(layer.norm2(h));
    inner = m.config.hidden_act == "gelu" ? at::gelu(inner) : inner * at::sigmoid(inner * 1.702);
    h = layer.fc2(inner).add_(h);
  }
  return m.final_norm(h);
}

}  // namespace diffmine
