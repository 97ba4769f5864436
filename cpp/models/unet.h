// UNet2DConditionModel: diffusers' conditional UNet, named by its tensor names.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/engine_options.h"
#include "models/denoiser.h"
#include "weights/weight_store.h"

namespace diffmine {

// Checked and normalized by src/models (from unet/config.json); names follow diffusers.
struct UNetConfig {
  int64_t in_channels = 4, out_channels = 4;
  std::vector<int64_t> block_out_channels{320, 640, 1280, 1280};
  std::vector<std::string> down_block_types;               // CrossAttnDownBlock2D | DownBlock2D | AttnDownBlock2D
  std::vector<std::string> up_block_types;                 // CrossAttnUpBlock2D | UpBlock2D | AttnUpBlock2D
  std::string mid_block_type = "UNetMidBlock2DCrossAttn";  // or UNetMidBlock2D
  int64_t layers_per_block = 2;
  std::vector<int64_t>
      attention_head_dim;  // per block: the NUMBER of heads in cross-attention blocks, the head SIZE in Attn* blocks
  std::vector<int64_t> transformer_layers;  // per block
  int64_t cross_attention_dim = 768;
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool use_linear_projection = false;
  bool upcast_attention = false;  // asks for scores in fp32, which attention() makes in any case
  bool scale_shift = false;       // resnet_time_scale_shift == "scale_shift"
  int64_t num_class_embeds = 0;   // 0: text-conditional or unconditional
  // SDXL ("text_time"): pooled embeddings [pooled_dim] and six time ids of size_embed_dim each are embedded beside the
  // timestep; 0: without.
  int64_t pooled_dim = 0, size_embed_dim = 0;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  int64_t pixel_fold = 1;  // 2: pixels folded into channels (torch.pixel_unshuffle)
};

class UNet final : public Denoiser {
 public:
  // Takes every tensor of `weights`; the result holds copies in `dtype` on `device` (prepacked on a CPU).
  // Throws MODEL_INVALID / MODEL_UNSUPPORTED naming the tensor or option, WEIGHTS_INVALID for NaN or infinite weights.
  UNet(const UNetConfig& config, WeightStore& weights, const at::Device& device, at::ScalarType dtype,
       const Context& context = {}, const DenoiserOptions& options = {});
  ~UNet() override;
  UNet(UNet&&) noexcept;

  const UNetConfig& config() const;
  std::string part() const override { return "unet"; }
  at::Device device() const override;
  at::ScalarType dtype() const override;
  int64_t channels() const override;
  int64_t pixel_fold() const override;
  int64_t size_multiple() const override;  // 1 unless attention up blocks need more
  int64_t weight_bytes() const override;
  int64_t weight_count() const override;
  int64_t feature_blocks() const override;  // up blocks
  std::string feature_path(int64_t block) const override;

  // text [M, tokens, cross_attention_dim], with pooled [M, pooled_dim] where the model takes it, or class labels.
  std::shared_ptr<const Conditions> prepare(const ConditionInput& input) const override;

  // What does not see the condition is computed once per input.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const Conditions& conditions,
                     const at::Tensor& condition_index, int64_t fan_out = 1, const Observer* observer = nullptr,
                     PixelSize size = {}) const override;

  const Parameters& parameters() const override;
  const std::optional<LoraOptions>& lora() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffmine
