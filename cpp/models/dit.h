// DiTTransformer2DModel: the class-conditional transformer of Peebles and Xie (ICCV 2023), named by its tensor names.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/context.h"
#include "models/denoiser.h"
#include "weights/weight_store.h"

namespace diffmine {

// Checked and normalized by src/models (from transformer/config.json); names follow diffusers.
struct DiTConfig {
  int64_t in_channels = 4;
  int64_t out_channels = 8;  // in_channels, or twice as many where the variance is learned: it follows the prediction
  int64_t num_layers = 28;
  int64_t num_attention_heads = 16, attention_head_dim = 72;
  int64_t patch_size = 2;
  int64_t sample_size = 32;    // cells of the images it was trained on, to which places are scaled
  int64_t num_classes = 1000;  // without the null class, which is the last row of the tables
  bool attention_bias = true;
  std::string activation = "gelu-approximate";
  double norm_eps = 1e-5;
  bool norm_elementwise_affine = false;
};

class DiT final : public Denoiser {
 public:
  // As UNet's constructor.
  DiT(const DiTConfig& config, WeightStore& weights, const at::Device& device, at::ScalarType dtype,
      const Context& context = {}, const DenoiserOptions& options = {});
  ~DiT() override;

  const DiTConfig& config() const;
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

  // Class labels; num_classes is the null class.
  std::shared_ptr<const Conditions> prepare(const ConditionInput& input) const override;
  // The prediction without the learned variance; observers see both as "proj_out".
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
