#include "models/vae.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "models/attention.h"
#include "models/resnet.h"

namespace diffmine {
namespace {

constexpr double kEps = 1e-6;

at::Tensor run(const ResnetBlock& block, const at::Tensor& x) {
  return block.conv2.add(block.norm2.silu(block.first_half({x})), block.residual({x}));
}

struct Level {
  std::vector<ResnetBlock> resnets;
  Conv2d resample;
  bool has_resample = false;
};

struct Middle {
  ResnetBlock first, second;
  SpatialAttention attention;
  bool has_attention = true;

  static Middle load(Loader& loader, const std::string& name, int64_t channels, const VaeConfig& config) {
    Middle m;
    m.first = ResnetBlock::load(loader, name + ".resnets.0", channels, channels,
                                {.groups = config.norm_num_groups, .eps = kEps});
    m.has_attention = config.mid_block_add_attention;
    if (m.has_attention)
      m.attention = SpatialAttention::load(loader, name + ".attentions.0", channels, 1, config.norm_num_groups, kEps);
    m.second = ResnetBlock::load(loader, name + ".resnets.1", channels, channels,
                                 {.groups = config.norm_num_groups, .eps = kEps});
    return m;
  }
  at::Tensor operator()(at::Tensor x) const {
    x = run(first, x);
    if (has_attention) x = attention(x);
    return run(second, x);
  }
};

// Published SD 1.x files name the attention's parts as older diffusers did.
std::string modern_name(const std::string& name) {
  static const std::pair<const char*, const char*> kNames[] = {
      {".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}};
  if (name.find(".attentions.") == std::string::npos) return name;
  for (const auto& [old, now] : kNames) {
    if (const auto at = name.find(old); at != std::string::npos)
      return name.substr(0, at) + now + name.substr(at + std::string(old).size());
  }
  return name;
}

}  // namespace

struct Vae::Impl {
  VaeConfig config;
  at::Device device = at::kCPU;
  Conv2d enc_in, enc_out, dec_in, dec_out;
  std::vector<Level> enc, dec;
  Middle enc_mid, dec_mid;
  GroupNorm enc_norm, dec_norm;
  Linear quant, post_quant;

  void load(WeightStore& weights, const Context& context, const EngineOptions& options, bool tf32) {
    weights.rename(modern_name);
    Loader loader(weights, device, at::kFloat, context, options);
    loader.allow_tf32(tf32);
    const auto& ch = config.block_out_channels;
    if (ch.empty()) throw Error(code::kModelInvalid, "The VAE's config has no block_out_channels.");
    const size_t n = ch.size();
    const int64_t groups = config.norm_num_groups;

    enc_in = Conv2d::load(loader, "encoder.conv_in", config.in_channels, ch[0], 3);
    int64_t in = ch[0];
    for (size_t b = 0; b < n; ++b) {
      Level level;
      const std::string p = "encoder.down_blocks." + std::to_string(b);
      for (int64_t i = 0; i < config.layers_per_block; ++i) {
        level.resnets.push_back(
            ResnetBlock::load(loader, p + ".resnets." + std::to_string(i), in, ch[b], {.groups = groups, .eps = kEps}));
        in = ch[b];
      }
      level.has_resample = b + 1 < n;
      if (level.has_resample) level.resample = Conv2d::load(loader, p + ".downsamplers.0.conv", in, in, 3, 2, 0);
      enc.push_back(std::move(level));
    }
    enc_mid = Middle::load(loader, "encoder.mid_block", in, config);
    enc_norm = GroupNorm::load(loader, "encoder.conv_norm_out", in, groups, kEps);
    enc_out = Conv2d::load(loader, "encoder.conv_out", in, 2 * config.latent_channels, 3);
    if (config.use_quant_conv)
      quant = Linear::load_conv1x1(loader, "quant_conv", 2 * config.latent_channels, 2 * config.latent_channels);

    loader.allow_tf32(false);
    if (config.use_post_quant_conv)
      post_quant = Linear::load_conv1x1(loader, "post_quant_conv", config.latent_channels, config.latent_channels);
    dec_in = Conv2d::load(loader, "decoder.conv_in", config.latent_channels, in, 3);
    dec_mid = Middle::load(loader, "decoder.mid_block", in, config);
    for (size_t b = 0; b < n; ++b) {
      Level level;
      const std::string p = "decoder.up_blocks." + std::to_string(b);
      const int64_t out = ch[n - 1 - b];
      for (int64_t i = 0; i <= config.layers_per_block; ++i) {
        level.resnets.push_back(
            ResnetBlock::load(loader, p + ".resnets." + std::to_string(i), in, out, {.groups = groups, .eps = kEps}));
        in = out;
      }
      level.has_resample = b + 1 < n;
      if (level.has_resample) level.resample = Conv2d::load(loader, p + ".upsamplers.0.conv", in, in, 3);
      dec.push_back(std::move(level));
    }
    dec_norm = GroupNorm::load(loader, "decoder.conv_norm_out", in, groups, kEps);
    dec_out = Conv2d::load(loader, "decoder.conv_out", in, config.out_channels, 3);
    weights.expect_all_taken({});
  }
};

Vae::Vae(const VaeConfig& config, WeightStore& weights, const at::Device& device, const Context& context,
         const EngineOptions& options, at::ScalarType beside)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->device = device;
  impl_->load(weights, context, options, beside != at::kFloat && options.encode_tf32);
}
Vae::~Vae() = default;
Vae::Vae(Vae&&) noexcept = default;

const VaeConfig& Vae::config() const { return impl_->config; }
int64_t Vae::factor() const { return int64_t{1} << (impl_->config.block_out_channels.size() - 1); }

Vae::Posterior Vae::encode(const at::Tensor& images) const {
  const auto& m = *impl_;
  if (images.dim() != 4 || images.size(1) != m.config.in_channels)
    throw Error(code::kInvalidArgument,
                "The VAE encodes images [B, " + std::to_string(m.config.in_channels) + ", H, W].");
  if (images.size(2) < factor() || images.size(3) < factor())
    throw Error(code::kInvalidArgument,
                "An image is smaller than one latent cell (" + std::to_string(factor()) + " px).");
  auto h = m.enc_in(images.to(m.device, at::kFloat));
  for (const auto& level : m.enc) {
    for (const auto& resnet : level.resnets) h = run(resnet, h);
    if (level.has_resample) h = level.resample(at::constant_pad_nd(h, {0, 1, 0, 1}));  // right and bottom only
  }
  h = m.enc_out(m.enc_norm.silu(m.enc_mid(h)));
  if (m.config.use_quant_conv) h = m.quant.channels(h);
  const auto parts = h.chunk(2, 1);
  return {parts[0].contiguous(), parts[1].clamp(-30.0, 20.0)};
}

at::Tensor Vae::decode(const at::Tensor& latents) const {
  const auto& m = *impl_;
  if (latents.dim() != 4 || latents.size(1) != m.config.latent_channels) {
    throw Error(code::kInvalidArgument,
                "The VAE decodes latents [B, " + std::to_string(m.config.latent_channels) + ", h, w].");
  }
  auto h = latents.to(m.device, at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  if (m.config.use_post_quant_conv) h = m.post_quant.channels(h);
  h = m.dec_mid(m.dec_in(h));
  for (const auto& level : m.dec) {
    for (const auto& resnet : level.resnets) h = run(resnet, h);
    if (level.has_resample) {
      const int64_t size[] = {2 * h.size(2), 2 * h.size(3)};
      h = level.resample(at::upsample_nearest2d(h, size));
    }
  }
  return m.dec_out(m.dec_norm.silu(h));
}

}  // namespace diffmine
