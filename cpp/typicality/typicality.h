// Typicality T(x|c) = E_{eps,t}[L_t(x, eps, null) - L_t(x, eps, c)] (paper equation 3) of a batch of images, as maps
// and patch scores with their standard errors (typicality/standard_error.h), streamed over the samples.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/context.h"
#include "diffusion/noise.h"
#include "kernels/loss_difference.h"
#include "models/model.h"
#include "typicality/patches.h"

namespace diffmine {

struct TypicalityOptions {
  int64_t samples = 100;  // N
  uint64_t seed = 0;
  int64_t t_begin = 100, t_end = 700;  // [begin, end)
  Sampler sampler = Sampler::kStratified;
  Loss loss = Loss::kSquared;
  int64_t patch = 64;     // pixels; 0: maps only
  int64_t per_image = 5;  // patches of each list
  int64_t batch = 8;      // UNet inputs (rows) per forward pass, at least one input with all its conditions
  bool keep_maps = true;
  bool keep_scores = false;  // whole score maps, for checks
  bool keep_losses = false;  // losses per sample and condition, for checks
  // The samples [begin, end) of the N that this call denoises. Results are over samples [0, end): those before `begin`
  // are in TypicalityInput::earlier.
  int64_t sample_begin = 0;
  std::optional<int64_t> sample_end;   // default N
  std::vector<double> sample_weights;  // [N], mean 1: the difference of sample n is multiplied by its own; empty: ones
  bool keep_differences = false;       // of this call's samples, for `earlier` of a later one
};

// B images of the same size.
struct TypicalityInput {
  at::Tensor latents;  // [B, C, h, w] fp32, from Model::encode_images
  std::function<void(int64_t image)>
      ready;  // if given, called before the first pass that reads an image's latents, which it may still fill
  int64_t height = 0, width = 0;  // the image's pixels, to which maps are upsampled
  at::Tensor conditions;  // [B, K], or [B, N, K] where they change with the sample; int64, CPU: rows of `Conditions`
                          // each image is denoised under
  at::Tensor subjects;    // [B, M] int64, CPU: which of its K conditions each output scores
  at::Tensor weights;  // [B, M, K] fp32, CPU: contrast weights, 0 at the subject, summing to 1: T_m = sum_k w_mk (L_k -
                       // L_subject)
  std::vector<uint64_t> keys;  // [B] image keys for the random control patches
  // Replay: noises [N, C, h, w] or [B, N, C, h, w] fp32 and timesteps [N] or [B, N] in place of drawn ones: int64, of
  // flows also fp32.
  std::optional<at::Tensor> noises, timesteps;
  // [B, sample_begin, M, h', w'] fp32: TypicalityResult::differences of the samples before, put together; needed where
  // sample_begin > 0.
  std::optional<at::Tensor> earlier;
};

struct ScoredPatch {
  int64_t row, column;
  float score;
  float standard_error;
};  // standard_error NaN for one sample

struct TypicalityOutput {  // of one image and one output (condition)
  at::Tensor map;          // [h', w'] fp32 CPU: mean over samples (loss resolution: latent, or pixels when folded)
  double mean = 0;         // typicality of the whole image: mean of the map
  std::vector<ScoredPatch> top, bottom, random;
  at::Tensor scores, standard_errors;  // [R, S] fp32 CPU when keep_scores
};

struct TypicalityResult {
  std::vector<std::vector<TypicalityOutput>> outputs;  // [B][M]
  at::Tensor losses;                                   // [B, end - begin, K, h', w'] fp32 CPU when keep_losses
  at::Tensor differences;  // [B, end - begin, M, h', w'] fp32 CPU when keep_differences: weighted loss differences
  std::vector<double> timesteps;  // [N]; [B N] where each image replayed its own
};

// Progress: stage "score", one unit = one UNet call. Cancelled between forward passes. Throws NUMERICS if a
// result is not finite.
TypicalityResult score_typicality(const Model& model, const std::shared_ptr<const Conditions>& conditions,
                                  const TypicalityInput& input, const TypicalityOptions& options,
                                  const Context& context = {});

}  // namespace diffmine
