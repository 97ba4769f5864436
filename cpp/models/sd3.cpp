// The forward pass follows diffusers' SD3Transformer2DModel. Text and image mix from the first block on, so that only
// the patch embedding is shared by the conditions of an input; what depends on the text alone is in the conditions.
#include "models/sd3.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/silu.h>

#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "core/backends.h"
#include "core/error.h"
#include "models/attention.h"
#include "models/checkpoint.h"
#include "models/dit_layers.h"
#include "models/layers.h"

namespace diffmine {
namespace {

constexpr double kNormEps = 1e-6;

struct TextConditions final : Conditions {
  at::Tensor context;  // [M, tokens, C] in the model's dtype
  at::Tensor pooled;   // [M, C] fp32
  int64_t bytes() const override { return static_cast<int64_t>(context.nbytes() + pooled.nbytes()); }
};

// Queries, keys and values [B, N, C] of one stream.
struct Projected {
  at::Tensor q, k, v;
};

struct Projection {
  Linear qkv;
  std::optional<RmsNorm> norm_q, norm_k;  // of each head
  int64_t heads = 1;

  // Names are below `path`.
  static Projection load(Loader& loader, const std::string& path, const std::vector<std::string>& linears,
                         const std::vector<std::string>& norms, const Sd3Config& config) {
    const int64_t d = config.num_attention_heads * config.attention_head_dim;
    Projection p;
    p.heads = config.num_attention_heads;
    std::vector<std::string> names;
    for (const auto& linear : linears) names.push_back(path + linear);
    p.qkv = Linear::packed(loader, names, d, d, true);
    if (config.qk_norm) {
      p.norm_q = RmsNorm::load(loader, path + norms[0], config.attention_head_dim, kNormEps);
      p.norm_k = RmsNorm::load(loader, path + norms[1], config.attention_head_dim, kNormEps);
    }
    return p;
  }

  Projected operator()(const at::Tensor& x) const {
    const auto parts = qkv(x).chunk(3, -1);
    const auto normed = [&](const std::optional<RmsNorm>& norm, const at::Tensor& y) {
      return norm ? (*norm)(y.unflatten(-1, {heads, y.size(-1) / heads})).flatten(-2) : y;
    };
    return {normed(norm_q, parts[0]), normed(norm_k, parts[1]), parts[2]};
  }
};

struct JointBlock {
  std::string path;
  // Of SiLU(embedding): shift, scale and gate of attention, of the feed-forward, and of a second attention. The last
  // block's text stream has no more than a scale and a shift: nothing reads what it would become.
  Linear modulation, text_modulation;
  Projection image, text;
  Linear image_out, text_out;
  std::optional<Projection> second;
  Linear second_out;
  TransformerFeedForward ff, text_ff;
  bool last = false;
};

}  // namespace

struct Sd3::Impl {
  Sd3Config config;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  EngineOptions options;
  std::optional<LoraOptions> lora;
  bool checkpointing = false;
  Conv2d patches;
  at::Tensor positions;  // [max, max, C]
  TimestepEmbedder time;
  Linear pooled_1, pooled_2, context;
  std::vector<JointBlock> blocks;
  Linear modulation_out, proj_out;
  int64_t bytes = 0, count = 0;
  Parameters parameters;

  int64_t channels() const { return config.num_attention_heads * config.attention_head_dim; }

  static void check(const Sd3Config& c) {
    if (c.out_channels != c.in_channels) {
      throw Error(code::kModelUnsupported,
                  "The SD3 transformer's out_channels " + std::to_string(c.out_channels) + " are not its in_channels.");
    }
    if (c.num_attention_heads * c.attention_head_dim % 4)
      throw Error(code::kModelUnsupported, "The SD3 transformer's width must be a multiple of 4 for its places.");
    if (c.num_layers < 1) throw Error(code::kModelInvalid, "The SD3 transformer has no layers.");
    if (c.patch_size > c.sample_size)
      throw Error(code::kModelInvalid, "The SD3 transformer's patch_size is larger than its sample_size.");
  }

  // Kept as published files have it (fp16), beside weights in fp16 or bf16: of SD3.5 medium they are a fifth.
  void load_positions(Loader& loader, const WeightStore& weights) {
    const int64_t side = config.pos_embed_max_size, d = channels();
    const auto kept = dtype == at::kFloat ? at::kFloat : at::kHalf;
    const bool stored = !weights.names().empty();  // not where weights are made on demand
    positions = stored ? loader.take("pos_embed.pos_embed", {1, side * side, d}, kept)
                       : patch_positions(d, side, side, config.sample_size / config.patch_size, device).to(kept);
    positions = positions.view({side, side, d});
  }

  void load(WeightStore& weights, const Context& context_, bool trainable) {
    check(config);
    Parameters* const leaves = trainable ? &parameters : nullptr;
    const LoraOptions* const updates = lora ? &*lora : nullptr;
    Loader loader(weights, device, dtype, context_, options, leaves, updates);
    // Where values come in and go out, and what sets the timesteps apart, stays in fp32: a small part of the work.
    Loader exact(weights, device, at::kFloat, context_, options, leaves, updates);
    const int64_t d = channels(), p = config.patch_size;
    patches = Conv2d::load(exact, "pos_embed.proj", config.in_channels, d, p, p, 0);
    load_positions(loader, weights);
    time = TimestepEmbedder::load(exact, "time_text_embed.timestep_embedder", d, 0);
    pooled_1 = Linear::load(exact, "time_text_embed.text_embedder.linear_1", config.pooled_projection_dim, d);
    pooled_2 = Linear::load(exact, "time_text_embed.text_embedder.linear_2", d, d);
    context = Linear::load(loader, "context_embedder", config.joint_attention_dim, d);
    for (int64_t i = 0; i < config.num_layers; ++i) {
      const auto& dual = config.dual_attention_layers;
      const bool second = std::find(dual.begin(), dual.end(), i) != dual.end();
      JointBlock b;
      b.path = "transformer_blocks." + std::to_string(i);
      b.last = i + 1 == config.num_layers;
      b.modulation = Linear::load(loader, b.path + ".norm1.linear", d, (second ? 9 : 6) * d);
      b.text_modulation = Linear::load(loader, b.path + ".norm1_context.linear", d, (b.last ? 2 : 6) * d);
      const auto attn = b.path + ".attn.";
      b.image = Projection::load(loader, attn, {"to_q", "to_k", "to_v"}, {"norm_q", "norm_k"}, config);
      b.text = Projection::load(loader, attn, {"add_q_proj", "add_k_proj", "add_v_proj"},
                                {"norm_added_q", "norm_added_k"}, config);
      b.image_out = Linear::load(loader, attn + "to_out.0", d, d);
      if (!b.last) b.text_out = Linear::load(loader, attn + "to_add_out", d, d);
      if (second) {
        b.second = Projection::load(loader, b.path + ".attn2.", {"to_q", "to_k", "to_v"}, {"norm_q", "norm_k"}, config);
        b.second_out = Linear::load(loader, b.path + ".attn2.to_out.0", d, d);
      }
      b.ff = TransformerFeedForward::load(loader, b.path + ".ff", d, "gelu-approximate");
      if (!b.last) b.text_ff = TransformerFeedForward::load(loader, b.path + ".ff_context", d, "gelu-approximate");
      blocks.push_back(std::move(b));
    }
    modulation_out = Linear::load(exact, "norm_out.linear", d, 2 * d);
    proj_out = Linear::load(exact, "proj_out", d, p * p * config.out_channels);
    weights.expect_all_taken({});
    bytes = loader.bytes() + exact.bytes();
    count = loader.count() + exact.count();
  }

  // [height width, C] fp32 of the middle of the largest image.
  at::Tensor places(int64_t height, int64_t width) const {
    const int64_t side = config.pos_embed_max_size;
    if (height > side || width > side) {
      throw Error(code::kInvalidArgument,
                  "An image of " + std::to_string(width) + " x " + std::to_string(height) +
                      " patches is larger than the model takes (" + std::to_string(side) + " x " +
                      std::to_string(side) + ").",
                  "Use a smaller --size.");
    }
    const int64_t top = (side - height) / 2, left = (side - width) / 2;
    return positions.slice(0, top, top + height).slice(1, left, left + width).flatten(0, 1).to(at::kFloat);
  }

  at::Tensor attend(const Projected& p) const {
    const int64_t heads = config.num_attention_heads;
    return merge_heads(attention(split_heads(p.q, heads), split_heads(p.k, heads), split_heads(p.v, heads), options));
  }

  static at::Tensor joined(const at::Tensor& a, const at::Tensor& b) {
    return at::cat(std::vector<at::Tensor>{a, b}, 1);
  }

  // Tokens of the image and of the text.
  struct Streams {
    at::Tensor image, text;
  };

  // embedding: of timestep and pooled text, after SiLU. `see` observes the image's tokens of a path.
  template <class See>
  Streams run(const JointBlock& b, at::Tensor h, at::Tensor c, const at::Tensor& embedding, const See& see) const {
    const auto m = b.modulation(embedding).chunk(b.second ? 9 : 6, 1);
    const auto mc = b.text_modulation(embedding).chunk(b.last ? 2 : 6, 1);
    const auto plain = at::layer_norm(h, {channels()}, {}, {}, kNormEps);
    const auto normed = see(b.path + ".norm1", modulate(plain, m[1], m[0]));
    const auto normed_c = modulated_norm(c, mc[b.last ? 0 : 1], mc[b.last ? 1 : 0]);

    const auto image = b.image(normed), words = b.text(normed_c);
    const auto mixed = attend({joined(image.q, words.q), joined(image.k, words.k), joined(image.v, words.v)});
    h = add_gated(h, m[2], b.image_out(mixed.slice(1, 0, h.size(1))));
    if (b.second) h = add_gated(h, m[8], b.second_out(attend((*b.second)(modulate(plain, m[7], m[6])))));
    h = see(b.path, add_gated(h, m[5], b.ff(modulated_norm(h, m[4], m[3]))));
    if (b.last) return {h, {}};
    c = add_gated(c, mc[2], b.text_out(mixed.slice(1, h.size(1))));
    c = add_gated(c, mc[5], b.text_ff(modulated_norm(c, mc[4], mc[3])));
    return {h, c};
  }

  // The same, keeping only its inputs for the gradient.
  Streams checkpointed(const JointBlock& b, const at::Tensor& h, const at::Tensor& c,
                       const at::Tensor& embedding) const {
    const auto out = checkpoint(
        [this, &b](const std::vector<at::Tensor>& inputs) {
          const auto made =
              run(b, inputs[0], inputs[1], inputs[2], [](const std::string&, at::Tensor tokens) { return tokens; });
          return b.last ? made.image : joined(made.image, made.text);
        },
        {h, c, embedding});
    return {out.slice(1, 0, h.size(1)), out.slice(1, h.size(1))};
  }

  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& text, const at::Tensor& pooled,
                     int64_t fan_out, const Observer* observer) const {
    const int64_t p = config.patch_size, height = x.size(2) / p, width = x.size(3) / p;
    const auto see = [&](const std::string& path, at::Tensor tokens) {
      return observer ? to_tokens(observe(observer, path, to_image(tokens, height, width))) : tokens;
    };
    auto h = to_tokens(patches(x.to(at::kFloat))) + places(height, width);
    h = h.to(dtype).repeat_interleave(fan_out, 0);
    auto c = text;
    const auto embedding = at::silu(time(t).repeat_interleave(fan_out, 0) + pooled);
    const auto rounded = embedding.to(dtype);
    const bool keeps_inputs = checkpointing && !observer && at::GradMode::is_enabled();
    for (const auto& b : blocks) {
      auto made = keeps_inputs ? checkpointed(b, h, c, rounded) : run(b, h, c, rounded, see);
      h = std::move(made.image);
      c = std::move(made.text);
    }
    const auto last = modulation_out(embedding).chunk(2, 1);
    return unpatchify(proj_out(modulated_norm(h.to(at::kFloat), last[0], last[1])), height, width, p);
  }
};

Sd3::Sd3(const Sd3Config& config, WeightStore& weights, const at::Device& device, at::ScalarType dtype,
         const Context& context, const DenoiserOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->device = device;
  impl_->dtype = dtype;
  impl_->options = options.engine;
  if (options.trainable) impl_->lora = options.lora;
  impl_->checkpointing = options.checkpointing;
  std::optional<c10::InferenceMode> differentiable;  // tensors made in inference mode never take part in a graph
  if (options.trainable) differentiable.emplace(false);
  set_up_backends(device);
  probe_cudnn_attention(device, dtype);
  impl_->load(weights, context, options.trainable);
}
Sd3::~Sd3() = default;

const Sd3Config& Sd3::config() const { return impl_->config; }
at::Device Sd3::device() const { return impl_->device; }
at::ScalarType Sd3::dtype() const { return impl_->dtype; }
int64_t Sd3::channels() const { return impl_->config.in_channels; }
int64_t Sd3::size_multiple() const { return impl_->config.patch_size; }
int64_t Sd3::weight_bytes() const { return impl_->bytes; }
int64_t Sd3::weight_count() const { return impl_->count; }
int64_t Sd3::feature_blocks() const { return impl_->config.num_layers; }
const Parameters& Sd3::parameters() const { return impl_->parameters; }
const std::optional<LoraOptions>& Sd3::lora() const { return impl_->lora; }

// As DiT's.
std::string Sd3::feature_path(int64_t block) const { return impl_->blocks[static_cast<size_t>(block)].path + ".norm1"; }

std::shared_ptr<const Conditions> Sd3::prepare(const ConditionInput& input) const {
  const auto& c = impl_->config;
  const auto &text = input.text, &pooled = input.pooled;
  if (!text.defined() || text.dim() != 3 || text.size(2) != c.joint_attention_dim) {
    throw Error(code::kInvalidArgument,
                "The SD3 transformer takes text embeddings [M, tokens, " + std::to_string(c.joint_attention_dim) + "].",
                "Do the text encoders belong to this transformer?");
  }
  if (!pooled.defined() || pooled.dim() != 2 || pooled.size(0) != text.size(0) ||
      pooled.size(1) != c.pooled_projection_dim) {
    throw Error(code::kInvalidArgument,
                "The SD3 transformer takes pooled embeddings [M, " + std::to_string(c.pooled_projection_dim) + "].",
                "Do the text encoders belong to this transformer?");
  }
  auto made = std::make_shared<TextConditions>();
  made->owner = impl_.get();
  made->rows = text.size(0);
  made->context = impl_->context(text.to(impl_->device, impl_->dtype));
  made->pooled = impl_->pooled_2(at::silu(impl_->pooled_1(pooled.to(impl_->device, at::kFloat))));
  return made;
}

at::Tensor Sd3::forward(const at::Tensor& x, const at::Tensor& t, const Conditions& conditions,
                        const at::Tensor& condition_index, int64_t fan_out, const Observer* observer, PixelSize) const {
  if (conditions.owner != impl_.get())
    throw Error(code::kInvalidArgument, "These conditions were prepared for another model.");
  check_pass(*this, "SD3 transformer", x, t, conditions, condition_index, fan_out);
  const auto& prepared = static_cast<const TextConditions&>(conditions);
  const auto index = condition_index.to(impl_->device);
  try {
    return impl_->forward(x.to(impl_->device), t.to(impl_->device), prepared.context.index_select(0, index),
                          prepared.pooled.index_select(0, index), fan_out, observer);
  } catch (const PassStopped&) {
    return {};
  }
}

}  // namespace diffmine
