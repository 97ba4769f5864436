#include "models/t5.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/attention.h"

namespace diffmine {
namespace {

// As stored, in the file.
struct StoredLayer {
  at::Tensor norm1, q, k, v, out, norm2, gate, up, down;
};

}  // namespace

at::Tensor t5_buckets(int64_t tokens, int64_t buckets, int64_t max_distance) {
  const auto place = at::arange(tokens, at::kLong);
  const auto distance = place.unsqueeze(0) - place.unsqueeze(1);
  const int64_t half = buckets / 2, exact = half / 2;
  const auto far = distance.abs().clamp_min(1).to(at::kFloat);
  const double span = std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const auto large = ((far / exact).log() / span * (half - exact)).to(at::kLong) + exact;
  const auto size = at::where(distance.abs() < exact, distance.abs(), large.clamp_max(half - 1));
  return size + (distance > 0).to(at::kLong) * half;
}

struct T5Encoder::Impl {
  T5Config config;
  at::Device device = at::kCPU;
  at::Tensor tokens, distances, final_norm;  // [vocab, d_model], [buckets, heads], [d_model]
  std::vector<StoredLayer> layers;

  static void check(const T5Config& c) {
    // `exact` of t5_buckets must be above 0, and max_distance above it.
    if (c.relative_attention_num_buckets < 4 || c.relative_attention_num_buckets % 2 ||
        c.relative_attention_max_distance <= c.relative_attention_num_buckets / 4) {
      throw Error(code::kModelUnsupported,
                  "T5's relative_attention_num_buckets = " + std::to_string(c.relative_attention_num_buckets) +
                      " and relative_attention_max_distance = " + std::to_string(c.relative_attention_max_distance) +
                      " are not supported.",
                  "Supported: an even number of buckets from 4, and a distance above a quarter of them.");
    }
  }

  void load(WeightStore& weights) {
    check(config);
    const auto take = [&](const std::string& name, at::IntArrayRef shape) {
      auto stored = weights.take(name, shape);
      if (!stored.is_floating_point())
        throw Error(code::kModelInvalid, "Tensor \"" + name + "\" does not have floating-point weights.");
      return stored;
    };
    const int64_t d = config.d_model, inner = config.num_heads * config.d_kv, ff = config.d_ff;
    // Some files have the table under both names.
    const char* const table = weights.has("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
    tokens = take(table, {config.vocab_size, d});
    distances = take("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                     {config.relative_attention_num_buckets, config.num_heads});
    for (int64_t i = 0; i < config.num_layers; ++i) {
      const std::string p = "encoder.block." + std::to_string(i) + ".layer.";
      layers.push_back(
          {take(p + "0.layer_norm.weight", {d}), take(p + "0.SelfAttention.q.weight", {inner, d}),
           take(p + "0.SelfAttention.k.weight", {inner, d}), take(p + "0.SelfAttention.v.weight", {inner, d}),
           take(p + "0.SelfAttention.o.weight", {d, inner}), take(p + "1.layer_norm.weight", {d}),
           take(p + "1.DenseReluDense.wi_0.weight", {ff, d}), take(p + "1.DenseReluDense.wi_1.weight", {ff, d}),
           take(p + "1.DenseReluDense.wo.weight", {d, ff})});
    }
    final_norm = take("encoder.final_layer_norm.weight", {d});
    weights.expect_all_taken({"encoder.embed_tokens.weight"});
  }

  at::Tensor exact(const at::Tensor& stored) const { return stored.to(device, at::kFloat); }
  at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) const { return at::linear(x, exact(weight)); }

  // RMSNorm: no mean is subtracted, and there is no bias.
  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const {
    return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + config.layer_norm_epsilon) * exact(weight);
  }

  // Scores are not divided by sqrt(d_kv). bias [1, heads, tokens, tokens]. One prompt at a time: T5 XXL's scores of a
  // prompt of 256 tokens take 17 MB.
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias) const {
    auto made = at::empty_like(q);
    for (int64_t m = 0; m < q.size(0); ++m) {
      const auto heads = [&](const at::Tensor& x) { return split_heads(x.slice(0, m, m + 1), config.num_heads); };
      made.slice(0, m, m + 1)
          .copy_(merge_heads(at::scaled_dot_product_attention(heads(q), heads(k), heads(v), bias, /*dropout_p=*/0.0,
                                                              /*is_causal=*/false, /*scale=*/1.0)));
    }
    return made;
  }

  at::Tensor forward(const at::Tensor& ids, const Context& context) const {
    const auto buckets =
        t5_buckets(ids.size(1), config.relative_attention_num_buckets, config.relative_attention_max_distance);
    const auto bias =
        exact(at::embedding(distances.to(at::kFloat), buckets)).permute({2, 0, 1}).unsqueeze(0).contiguous();
    auto h = exact(at::embedding(tokens, ids.to(at::kCPU)));
    for (const auto& layer : layers) {
      context.check_cancelled();
      const auto x = norm(h, layer.norm1);
      h = h + linear(attend(linear(x, layer.q), linear(x, layer.k), linear(x, layer.v), bias), layer.out);
      const auto y = norm(h, layer.norm2);
      h = h + linear(at::gelu(linear(y, layer.gate), "tanh").mul_(linear(y, layer.up)), layer.down);
    }
    return norm(h, final_norm);
  }
};

T5Encoder::T5Encoder(const T5Config& config, WeightStore& weights, const at::Device& device)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->device = device;
  impl_->load(weights);
}
T5Encoder::~T5Encoder() = default;
T5Encoder::T5Encoder(T5Encoder&&) noexcept = default;
const T5Config& T5Encoder::config() const { return impl_->config; }

at::Tensor T5Encoder::forward(const at::Tensor& ids, const Context& context) const {
  if (ids.dim() != 2 || ids.scalar_type() != at::kLong)
    throw Error(code::kInvalidArgument, "T5 takes token ids [M, tokens] int64.");
  const int64_t vocab = impl_->config.vocab_size;
  if (ids.numel() && (ids.min().item<int64_t>() < 0 || ids.max().item<int64_t>() >= vocab)) {
    throw Error(code::kInvalidArgument, "A token id is outside T5's vocabulary of " + std::to_string(vocab) + ".",
                "Does tokenizer_3 belong to text_encoder_3?");
  }
  auto made = impl_->forward(ids, context);
  if (!at::isfinite(made).all().item<bool>()) {
    throw Error(code::kWeightsInvalid, "T5's embeddings are NaN or infinite.",
                "The files of text_encoder_3 are damaged. Download them again.");
  }
  return made;
}

}  // namespace diffmine
