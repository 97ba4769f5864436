#include "models/text_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sigmoid.h>

#include <vector>

#include "models/attention.h"

namespace diffmine {
namespace {

constexpr int64_t kLargestId = 2;  // TextEncoderConfig::eos_token_id

// Stored in any dtype, computed in fp32.
struct Affine {
  at::Tensor weight, bias;

  static Affine load(Loader& loader, const std::string& name, at::IntArrayRef shape) {
    return {loader.take_stored(name + ".weight", shape), loader.take_stored(name + ".bias", shape.slice(0, 1))};
  }
  at::Tensor linear(const at::Tensor& x) const { return at::linear(x, weight.to(at::kFloat), bias.to(at::kFloat)); }
  at::Tensor norm(const at::Tensor& x, double eps) const {
    return at::layer_norm(x, weight.sizes(), weight.to(at::kFloat), bias.to(at::kFloat), eps);
  }
};

struct Layer {
  Affine norm1, q, k, v, out, norm2, fc1, fc2;
};

}  // namespace

struct TextEncoder::Impl {
  TextEncoderConfig config;
  at::Device device = at::kCPU;
  at::Tensor tokens, positions;  // [vocab, hidden], [77, hidden]
  std::vector<Layer> layers;
  Affine final_norm;
  at::Tensor projection;  // [projection_dim, hidden], or undefined
  int64_t bytes = 0;

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
    tokens = loader.take_stored("embeddings.token_embedding.weight", {config.vocab_size, d});
    positions = loader.take_stored("embeddings.position_embedding.weight", {config.max_position_embeddings, d});
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string p = "encoder.layers." + std::to_string(i);
      const auto part = [&](const char* name, at::IntArrayRef shape) { return Affine::load(loader, p + name, shape); };
      const int64_t inner = config.intermediate_size;
      layers.push_back({part(".layer_norm1", {d}), part(".self_attn.q_proj", {d, d}), part(".self_attn.k_proj", {d, d}),
                        part(".self_attn.v_proj", {d, d}), part(".self_attn.out_proj", {d, d}),
                        part(".layer_norm2", {d}), part(".mlp.fc1", {inner, d}), part(".mlp.fc2", {d, inner})});
    }
    final_norm = Affine::load(loader, "final_layer_norm", {d});
    if (config.projection_dim) projection = loader.take_stored("text_projection.weight", {config.projection_dim, d});
    bytes = loader.bytes();
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
int64_t TextEncoder::weight_bytes() const { return impl_->bytes; }

TextEmbeddings TextEncoder::forward(const at::Tensor& ids) const {
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
  const auto on_device = ids.to(m.device);
  auto h = at::embedding(m.tokens, on_device).to(at::kFloat) + m.positions.slice(0, 0, ids.size(1)).to(at::kFloat);
  TextEmbeddings made;
  for (const auto& layer : m.layers) {
    if (m.config.penultimate && &layer == &m.layers.back()) {
      made.text = h;
      if (!m.projection.defined()) return made;
    }
    const auto x = layer.norm1.norm(h, m.config.layer_norm_eps);
    const auto heads = [&](const Affine& part) { return split_heads(part.linear(x), m.config.num_attention_heads); };
    h = h +
        layer.out.linear(merge_heads(attention(heads(layer.q), heads(layer.k), heads(layer.v), {}, /*causal=*/true)));
    auto inner = layer.fc1.linear(layer.norm2.norm(h, m.config.layer_norm_eps));
    inner = m.config.hidden_act == "gelu" ? at::gelu(inner) : inner * at::sigmoid(inner * 1.702);
    h = h + layer.fc2.linear(inner);
  }
  h = m.final_norm.norm(h, m.config.layer_norm_eps);
  if (!made.text.defined()) made.text = h;
  if (m.projection.defined()) {
    const int64_t eos = m.config.eos_token_id;
    const auto place = (eos == kLargestId ? on_device : on_device.eq(eos).to(at::kInt)).argmax(-1);  // the first
    const auto state = h.index({at::arange(h.size(0), place.options()), place});
    made.pooled = at::linear(state, m.projection.to(at::kFloat));
  }
  return made;
}

}  // namespace diffmine
