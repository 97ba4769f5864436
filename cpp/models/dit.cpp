// The forward pass follows diffusers' DiTTransformer2DModel. The condition enters in the first block's norm, so that
// only the patch embedding is shared by the conditions of an input. Images that are not square work as well.
#include "models/dit.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/silu.h>

#include <c10/core/InferenceMode.h>

#include <vector>

#include "core/backends.h"
#include "core/error.h"
#include "models/attention.h"
#include "models/checkpoint.h"
#include "models/dit_layers.h"
#include "models/layers.h"

namespace diffmine {
namespace {

struct ClassConditions final : Conditions {
  at::Tensor labels;  // [M] int64
  int64_t bytes() const override { return static_cast<int64_t>(labels.nbytes()); }
};

// The embedding of timestep and class, of which each block has one of its own.
struct Embedder {
  TimestepEmbedder time;
  at::Tensor classes;  // [classes + 1, C] fp32

  static Embedder load(Loader& exact, const std::string& name, int64_t classes, int64_t channels) {
    Embedder embedder;
    embedder.time = TimestepEmbedder::load(exact, name + ".timestep_embedder", channels, 1);
    embedder.classes = exact.take(name + ".class_embedder.embedding_table.weight", {classes + 1, channels});
    return embedder;
  }
  // t [P]; labels [P fan_out] -> SiLU of the embedding [P fan_out, C] fp32.
  at::Tensor operator()(const at::Tensor& t, const at::Tensor& labels, int64_t fan_out) const {
    return at::silu(time(t).repeat_interleave(fan_out, 0) + at::embedding(classes, labels));
  }
};

struct DitBlock {
  std::string path;
  Embedder embedder;
  Linear modulation;  // shift, scale and gate of attention, then of the feed-forward
  Linear qkv, out;
  std::optional<LayerNorm> norm3;  // where it has weights
  TransformerFeedForward ff;
};

}  // namespace

struct DiT::Impl {
  DiTConfig config;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  EngineOptions options;
  std::optional<LoraOptions> lora;
  bool checkpointing = false;
  Conv2d patches;
  at::Tensor positions;  // of the size it was trained on
  std::vector<DitBlock> blocks;
  Linear proj_out_1, proj_out_2;
  int64_t bytes = 0, count = 0;
  Parameters parameters;

  int64_t channels() const { return config.num_attention_heads * config.attention_head_dim; }
  int64_t base() const { return config.sample_size / config.patch_size; }

  static void check(const DiTConfig& c) {
    if (c.out_channels != c.in_channels && c.out_channels != 2 * c.in_channels) {
      throw Error(code::kModelUnsupported, "The DiT's out_channels " + std::to_string(c.out_channels) +
                                               " are neither its in_channels nor twice those.");
    }
    if (c.num_attention_heads * c.attention_head_dim % 4)
      throw Error(code::kModelUnsupported, "The DiT's width must be a multiple of 4 for its places.");
    if (c.patch_size > c.sample_size)
      throw Error(code::kModelInvalid, "The DiT's patch_size is larger than its sample_size.");
  }

  void load(WeightStore& weights, const Context& context, bool trainable) {
    check(config);
    Parameters* const leaves = trainable ? &parameters : nullptr;
    const LoraOptions* const updates = lora ? &*lora : nullptr;
    Loader loader(weights, device, dtype, context, options, leaves, updates);
    // Where values come in and go out, and what sets the timesteps apart, stays in fp32: a small part of the work.
    Loader exact(weights, device, at::kFloat, context, options, leaves, updates);
    const int64_t d = channels(), p = config.patch_size;
    patches = Conv2d::load(exact, "pos_embed.proj", config.in_channels, d, p, p, 0);
    positions = patch_positions(d, base(), base(), base(), device);
    for (int64_t i = 0; i < config.num_layers; ++i) {
      DitBlock b;
      b.path = "transformer_blocks." + std::to_string(i);
      b.embedder = Embedder::load(exact, b.path + ".norm1.emb", config.num_classes, d);
      b.modulation = Linear::load(loader, b.path + ".norm1.linear", d, 6 * d);
      const auto attention = b.path + ".attn1.";
      b.qkv = Linear::packed(loader, {attention + "to_q", attention + "to_k", attention + "to_v"}, d, d,
                             config.attention_bias);
      b.out = Linear::load(loader, attention + "to_out.0", d, d);
      if (config.norm_elementwise_affine) b.norm3 = LayerNorm::load(loader, b.path + ".norm3", d, config.norm_eps);
      b.ff = TransformerFeedForward::load(loader, b.path + ".ff", d, config.activation);
      blocks.push_back(std::move(b));
    }
    proj_out_1 = Linear::load(exact, "proj_out_1", d, 2 * d);
    proj_out_2 = Linear::load(exact, "proj_out_2", d, p * p * config.out_channels);
    weights.expect_all_taken({"pos_embed.pos_embed"});  // older files have what patch_positions() computes
    bytes = loader.bytes() + exact.bytes();
    count = loader.count() + exact.count();
  }

  // `see` observes the tokens of a path.
  template <class See>
  at::Tensor run(const DitBlock& b, const at::Tensor& h, const at::Tensor& t, const at::Tensor& labels, int64_t fan_out,
                 const See& see) const {
    const int64_t heads = config.num_attention_heads;
    const auto m = b.modulation(b.embedder(t, labels, fan_out).to(dtype)).chunk(6, 1);
    const auto normed = see(b.path + ".norm1", modulated_norm(h, m[1], m[0]));
    const auto qkv = b.qkv(normed).chunk(3, -1);
    const auto mixed =
        attention(split_heads(qkv[0], heads), split_heads(qkv[1], heads), split_heads(qkv[2], heads), options);
    const auto attended = add_gated(h, m[2], b.out(merge_heads(mixed)));
    const auto inner =
        b.norm3 ? modulate((*b.norm3)(attended), m[4], m[3]) : modulated_norm(attended, m[4], m[3], config.norm_eps);
    return see(b.path, add_gated(attended, m[5], b.ff(inner)));
  }

  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& labels, int64_t fan_out,
                     const Observer* observer) const {
    const int64_t p = config.patch_size, height = x.size(2) / p, width = x.size(3) / p;
    const auto see = [&](const std::string& path, at::Tensor tokens) {
      return observer ? to_tokens(observe(observer, path, to_image(tokens, height, width))) : tokens;
    };
    const bool trained_size = height == base() && width == base();
    auto h = to_tokens(patches(x.to(at::kFloat))) +
             (trained_size ? positions : patch_positions(channels(), height, width, base(), device));
    h = h.to(dtype).repeat_interleave(fan_out, 0);
    const bool keeps_inputs = checkpointing && !observer && at::GradMode::is_enabled();
    for (const auto& b : blocks) {
      if (!keeps_inputs) {
        h = run(b, h, t, labels, fan_out, see);
        continue;
      }
      h = checkpoint(
          [this, &b, t, labels, fan_out](const std::vector<at::Tensor>& inputs) {
            return run(b, inputs[0], t, labels, fan_out, [](const std::string&, at::Tensor tokens) { return tokens; });
          },
          {h});
    }
    const auto last = proj_out_1(blocks.front().embedder(t, labels, fan_out)).chunk(2, 1);
    const auto out = unpatchify(proj_out_2(modulated_norm(h.to(at::kFloat), last[1], last[0])), height, width, p);
    return observe(observer, "proj_out", out).slice(1, 0, config.in_channels);
  }
};

DiT::DiT(const DiTConfig& config, WeightStore& weights, const at::Device& device, at::ScalarType dtype,
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
DiT::~DiT() = default;

const DiTConfig& DiT::config() const { return impl_->config; }
at::Device DiT::device() const { return impl_->device; }
at::ScalarType DiT::dtype() const { return impl_->dtype; }
int64_t DiT::channels() const { return impl_->config.in_channels; }
int64_t DiT::size_multiple() const { return impl_->config.patch_size; }
int64_t DiT::weight_bytes() const { return impl_->bytes; }
int64_t DiT::weight_count() const { return impl_->count; }
int64_t DiT::feature_blocks() const { return impl_->config.num_layers; }
const Parameters& DiT::parameters() const { return impl_->parameters; }
const std::optional<LoraOptions>& DiT::lora() const { return impl_->lora; }

// What a block's attention reads: without the adaptive norm, few channels of very large values hide all others
// (Gan et al., NeurIPS 2025).
std::string DiT::feature_path(int64_t block) const { return impl_->blocks[static_cast<size_t>(block)].path + ".norm1"; }

std::shared_ptr<const Conditions> DiT::prepare(const ConditionInput& input) const {
  const auto& labels = input.labels;
  if (!labels.defined() || labels.dim() != 1 || labels.scalar_type() != at::kLong)
    throw Error(code::kInvalidArgument, "A class-conditional model takes class labels [M] int64.");
  if (labels.numel() &&
      (labels.min().item<int64_t>() < 0 || labels.max().item<int64_t>() > impl_->config.num_classes)) {
    throw Error(code::kInvalidArgument,
                "A class label is outside 0 ... " + std::to_string(impl_->config.num_classes) + ".");
  }
  auto made = std::make_shared<ClassConditions>();
  made->owner = impl_.get();
  made->rows = labels.size(0);
  made->labels = labels.to(impl_->device);
  return made;
}

at::Tensor DiT::forward(const at::Tensor& x, const at::Tensor& t, const Conditions& conditions,
                        const at::Tensor& condition_index, int64_t fan_out, const Observer* observer, PixelSize) const {
  if (conditions.owner != impl_.get())
    throw Error(code::kInvalidArgument, "These conditions were prepared for another model.");
  check_pass(*this, "DiT", x, t, conditions, condition_index, fan_out);
  const auto labels =
      static_cast<const ClassConditions&>(conditions).labels.index_select(0, condition_index.to(impl_->device));
  try {
    return impl_->forward(x.to(impl_->device), t.to(impl_->device), labels, fan_out, observer);
  } catch (const PassStopped&) {
    return {};
  }
}

}  // namespace diffmine
