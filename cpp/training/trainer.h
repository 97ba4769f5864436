// Training steps of a denoiser: loss, gradients, AdamW, moving average; and the state of all that, saved so that a
// training continues exactly.
//
// A step is any number of accumulate() and one update(). Noise and timesteps are pure functions of (seed, step,
// position in the step's batch), so that neither the split into parts nor an interruption changes them.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/context.h"
#include "diffusion/schedule.h"
#include "models/denoiser.h"
#include "training/ema.h"
#include "training/loss_scale.h"
#include "training/optimizer.h"

namespace diffmine {

struct TrainerOptions {
  uint64_t seed = 0;
  LearningRate rate;
  AdamWConfig adamw;
  double max_gradient_norm = 0;       // 0: not clipped
  double ema_decay = 0;               // 0: no average
  double min_snr = 0;                 // gamma of the Min-SNR weights; 0: unweighted
  int64_t t_begin = 0, t_end = 1000;  // timesteps drawn from [begin, end)
  double wide_fraction = 0;           // except for this fraction, drawn from the whole schedule
  int64_t cell = 1;  // pixels of a cell of x0 in each direction, for models that are conditioned on the image's size
  double loss_scale = 0;  // a power of two that dynamic loss scaling starts with (fp16 needs it); 0: without
};

// A part of a step's batch.
struct TrainingBatch {
  at::Tensor x0;  // [B, C, H, W] what the denoiser denoises
  at::Tensor
      conditions;  // [B] int64 rows of the trainer's conditions (the caller drops labels by choosing the null row)
  at::Tensor noise, timesteps;  // replay: [B, C, H, W] and [B]; drawn where undefined
};

struct TrainingStep {
  int64_t step = 0;          // steps done, this one included
  double loss = 0;           // mean over the step's batch
  double gradient_norm = 0;  // of all parameters together, before clipping
  double rate = 0;           // learning rate of this step
  bool skipped = false;  // by the loss scaling, for a gradient that is not finite: nothing was changed but the scale
};

class Trainer {
 public:
  // conditions: of which batches name rows.
  Trainer(std::shared_ptr<Denoiser> denoiser, std::shared_ptr<const Schedule> schedule,
          const ConditionInput& conditions, const TrainerOptions& options);

  // Adds the gradients of one part of a step's batch of `total` images. NUMERICS for a loss that is not finite: nothing
  // is changed then but that the step's gradients are dropped.
  void accumulate(const TrainingBatch& batch, int64_t total);
  // Ends the step: clips, updates weights and average. NUMERICS as above; with loss scaling only after many skipped
  // steps in a row.
  TrainingStep update();
  // The two for a batch in one part.
  TrainingStep step(const TrainingBatch& batch);

  // Without training, of the weights or of their average:
  // mean loss with the noise and timesteps of `key` instead of a step's;
  double evaluate(const TrainingBatch& batch, uint64_t key, bool average = false) const;
  // the denoiser's output [B, C, H, W] fp32 for x [B, C, H, W] at timesteps t [B] under the rows [B] of the conditions.
  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const at::Tensor& rows, bool average = false) const;

  int64_t steps() const { return optimizer_.steps(); }
  const Denoiser& denoiser() const { return *denoiser_; }
  int64_t bytes() const;    // weights, moments and average
  int64_t trained() const;  // trained parameters: all weights, or low-rank updates

  // Weights, moments, average and count of steps, between steps. load: MODEL_INVALID where the file is of another
  // model.
  void save(const std::string& path) const;
  void load(const std::string& path);
  // The weights as a safetensors file of their part in `dtype`, of the average if requested; low-rank updates as the
  // file that diffusers calls pytorch_lora_weights.safetensors, alpha / rank multiplied into B.
  void export_weights(const std::string& path, bool average, at::ScalarType dtype) const;

  enum class Which { kWeights, kAverages, kGradients };
  // A copy on the CPU, fp32, in the stored shape; gradients are those accumulated since the last update, undefined
  // where there are none.
  at::Tensor tensor(Which which, const std::string& name) const;

 private:
  at::Tensor losses(const TrainingBatch& batch, uint64_t key, int64_t first) const;  // [B], weighted
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& rows) const;
  const std::vector<at::Tensor>& averages() const;  // INVALID_ARGUMENT where none is kept
  void drop_gradients();
  std::vector<at::Tensor> gradients() const;
  using Named = std::vector<std::pair<std::string, at::Tensor>>;
  Named state() const;

  std::shared_ptr<Denoiser> denoiser_;
  std::shared_ptr<const Schedule> schedule_;
  TrainerOptions options_;
  ConditionInput conditions_;
  std::vector<at::Tensor> parameters_;
  AdamW optimizer_;
  std::optional<Ema> ema_;
  std::optional<LossScale> scale_;
  bool overflowed_ = false;  // a loss of this step was not finite
  int64_t accumulated_ = 0;  // images since the last update
  double loss_ = 0;          // their part of the step's loss
};

}  // namespace diffmine
