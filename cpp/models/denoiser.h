// What all kinds of denoising models have in common. A UNet (unet.h) is one.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/engine_options.h"
#include "models/loader.h"
#include "models/observer.h"

namespace diffmine {

// M conditions, before the denoiser's own weights have seen them. A model takes text or labels.
struct ConditionInput {
  at::Tensor text;      // embeddings [M, tokens, D]
  at::Tensor pooled;    // beside text, one embedding for each prompt [M, P]: SDXL, SD3
  at::Tensor time_ids;  // SDXL's size conditions [M, 6] fp32; undefined: those of each pass's image size
  at::Tensor labels;    // class labels [M] int64

  ConditionInput() = default;
  // Class labels [M] int64, or text embeddings.
  ConditionInput(const at::Tensor& conditions);  // NOLINT: implicit, most models have one tensor

  int64_t rows() const;  // M
  // `change` of every tensor that is there.
  template <class Change>
  ConditionInput each(const Change& change) const {
    ConditionInput changed;
    for (const auto part :
         {&ConditionInput::text, &ConditionInput::pooled, &ConditionInput::time_ids, &ConditionInput::labels}) {
      if ((this->*part).defined()) changed.*part = change(this->*part);
    }
    return changed;
  }
};

// Conditions made ready for one denoiser (keys and values of a text, embeddings of classes, ...). Immutable.
struct Conditions {
  virtual ~Conditions() = default;
  virtual int64_t bytes() const = 0;  // held
  const void* owner = nullptr;        // the denoiser they were made for
  int64_t rows = 0;                   // M
};

// Of the image that is denoised, in pixels.
struct PixelSize {
  int64_t height = 0, width = 0;
  bool operator==(const PixelSize&) const = default;
};

struct DenoiserOptions {
  // Weights are fp32 leaves of autograd's graph (parameters()); the dtype is what activations are computed in.
  bool trainable = false;
  // Of a trainable denoiser: only low-rank updates are leaves; the weights stay as they are, in the dtype.
  std::optional<LoraOptions> lora;
  EngineOptions engine;
  // The graph keeps only the inputs of residual blocks with their attention, or of a transformer's blocks, and computes
  // these again for the gradient.
  bool checkpointing = false;
};

class Denoiser {
 public:
  virtual ~Denoiser() = default;

  virtual std::string part() const = 0;  // of a pipeline, as diffusers names it: unet | transformer
  virtual at::Device device() const = 0;
  virtual at::ScalarType dtype() const = 0;    // of activations
  virtual int64_t channels() const = 0;        // C of x
  virtual int64_t pixel_fold() const = 0;      // 2: pixels folded into channels (torch.pixel_unshuffle); 1: not
  virtual int64_t size_multiple() const = 0;   // H and W of x must be multiples of it
  virtual int64_t weight_bytes() const = 0;    // held
  virtual int64_t weight_count() const = 0;    // elements, without low-rank updates
  virtual int64_t feature_blocks() const = 0;  // blocks whose outputs are features (DIFT), in order
  virtual std::string feature_path(int64_t block) const = 0;  // observers see its output as [P, F, h, w]

  // Throws INVALID_ARGUMENT for conditions of another kind or shape than the model takes.
  virtual std::shared_ptr<const Conditions> prepare(const ConditionInput& input) const = 0;

  // x [P, C, H, W], t [P]; each of the P inputs is denoised under `fan_out` conditions: row p * fan_out + k uses
  // conditions row condition_index[p * fan_out + k] (int64, checked where it lies on the CPU). `size` is that of the
  // images, for models that are conditioned on it. Returns the prediction [P * fan_out, C, H, W] fp32, or an undefined
  // tensor where the observer ended the pass.
  // On CUDA it may neither wait for the device nor read its values on the host (denoiser_graph.h).
  virtual at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const Conditions& conditions,
                             const at::Tensor& condition_index, int64_t fan_out = 1, const Observer* observer = nullptr,
                             PixelSize size = {}) const = 0;

  // Of a trainable denoiser: every tensor by its stored name and in its stored shape, in a fixed order (of low-rank
  // updates: lora_down_name, lora_up_name); else empty. Conditions hold what was computed with the weights they were
  // prepared with: to train, prepare them in each step, inside the graph.
  virtual const Parameters& parameters() const = 0;
  virtual const std::optional<LoraOptions>& lora() const = 0;
};

}  // namespace diffmine
