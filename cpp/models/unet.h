// UNet2DConditionModel: diffusers' conditional UNet, named by its tensor names.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "core/engine_options.h"
#include "models/loader.h"
#include "models/observer.h"
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
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  int64_t pixel_fold = 1;  // 2: pixels folded into channels (torch.pixel_unshuffle)
};

// Conditions made ready for one UNet: text keys and values of every cross-attention, or class labels. Immutable.
struct Conditions;
int64_t condition_rows(const Conditions& conditions);   // M
int64_t condition_bytes(const Conditions& conditions);  // bytes held

struct UNetOptions {
  // Weights are fp32 leaves of autograd's graph (parameters()); `dtype` is what activations are computed in.
  bool trainable = false;
  // Of a trainable UNet: only low-rank updates are leaves; the weights stay as they are, in `dtype`.
  std::optional<LoraOptions> lora;
  EngineOptions engine;
  // The graph keeps only the inputs of residual blocks with their attention and computes these again for the gradient.
  bool checkpointing = false;
};

class UNet {
 public:
  // Takes every tensor of `weights`; the result holds copies in `dtype` on `device` (prepacked on a CPU).
  // Throws MODEL_INVALID / MODEL_UNSUPPORTED naming the tensor or option, WEIGHTS_INVALID for NaN or infinite weights.
  UNet(const UNetConfig& config, WeightStore& weights, const at::Device& device, at::ScalarType dtype,
       const Context& context = {}, const UNetOptions& options = {});
  ~UNet();
  UNet(UNet&&) noexcept;

  const UNetConfig& config() const;
  at::Device device() const;
  at::ScalarType dtype() const;

  // text: embeddings [M, tokens, cross_attention_dim]; class models: labels [M] int64.
  std::shared_ptr<const Conditions> prepare(const at::Tensor& conditions) const;

  // x [P, C, H, W], t [P] int64; each of the P inputs is denoised under `fan_out` conditions: row p * fan_out + k uses
  // conditions row condition_index[p * fan_out + k], checked where it lies on the CPU. What does not see the condition
  // is computed once per input. Returns [P * fan_out, C, H, W] fp32.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const Conditions& conditions,
                     const at::Tensor& condition_index, int64_t fan_out = 1, const Observer* observer = nullptr) const;

  int64_t size_multiple()
      const;  // H and W must be multiples of it (1 unless attention up blocks need more), in x's layout
  int64_t weight_bytes() const;  // bytes held
  int64_t weight_count() const;  // elements, without low-rank updates

  // Of a trainable UNet: every tensor by its stored name and in its stored shape, in a fixed order (of low-rank
  // updates: lora_down_name, lora_up_name); else empty. Conditions hold keys and values of the weights they were
  // prepared with: to train, prepare them in each step, inside the graph.
  const Parameters& parameters() const;
  const std::optional<LoraOptions>& lora() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffmine
