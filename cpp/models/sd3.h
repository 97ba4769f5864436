// SD3Transformer2DModel: the transformer of Stable Diffusion 3 and 3.5 (Esser et al., ICML 2024), named by its tensor
// names. Image and text are two streams of tokens that attend to each other. It predicts the velocity of a flow.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/context.h"
#include "models/denoiser.h"
#include "weights/weight_store.h"

namespace diffmine {

// Checked and normalized by src/models (from transformer/config.json); names follow diffusers.
struct Sd3Config {
  int64_t in_channels = 16, out_channels = 16;
  int64_t num_layers = 24;
  int64_t num_attention_heads = 24, attention_head_dim = 64;
  int64_t joint_attention_dim = 4096;    // of the text embeddings
  int64_t pooled_projection_dim = 2048;  // of the pooled embeddings
  int64_t patch_size = 2;
  int64_t sample_size = 128;         // cells of the images it was trained on
  int64_t pos_embed_max_size = 192;  // patches of the largest image, from whose middle an image's places are cut
  std::vector<int64_t> dual_attention_layers;  // blocks with a second attention among the image's tokens alone
  bool qk_norm = false;                        // RMSNorm of queries and keys
};

class Sd3 final : public Denoiser {
 public:
  // As UNet's constructor.
  Sd3(const Sd3Config& config, WeightStore& weights, const at::Device& device, at::ScalarType dtype,
      const Context& context = {}, const DenoiserOptions& options = {});
  ~Sd3() override;

  const Sd3Config& config() const;
  std::string part() const override { return "transformer"; }
  at::Device device() const override;
  at::ScalarType dtype() const override;
  int64_t channels() const override;
  int64_t pixel_fold() const override { return 1; }
  int64_t size_multiple() const override;
  int64_t weight_bytes() const override;
  int64_t weight_count() const override;
  int64_t feature_blocks() const override;
  std::string feature_path(int64_t block) const override;

  // Text [M, tokens, joint_attention_dim] with pooled [M, pooled_projection_dim].
  std::shared_ptr<const Conditions> prepare(const ConditionInput& input) const override;
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
