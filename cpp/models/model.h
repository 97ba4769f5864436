// A whole model on one device: denoiser, schedule, and if it has them, VAE and text encoder.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/engine_options.h"
#include "diffusion/schedule.h"
#include "models/denoiser.h"
#include "models/t5.h"
#include "models/text_encoder.h"
#include "models/vae.h"

namespace diffmine {

class DenoiserGraphs;

struct Model {
  std::shared_ptr<const Denoiser> denoiser;
  std::shared_ptr<const Vae> vae;                                 // null: pixel space
  std::vector<std::shared_ptr<const TextEncoder>> text_encoders;  // none: class-conditional
  std::shared_ptr<const T5Encoder> t5;                            // null: none, or left out
  std::shared_ptr<const Schedule> schedule;
  std::shared_ptr<DenoiserGraphs> graphs;  // of `denoiser`; null: every pass is launched op by op
  EngineOptions options;                   // of the engine that holds it
  int64_t weight_bytes = 0;                // held by all parts

  // Denoiser::forward; without an observer by `graphs`, if there are any. The result is valid until the next call.
  // Where no `size` is given, it is that of x in pixels.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const std::shared_ptr<const Conditions>& conditions,
                     const at::Tensor& condition_index, int64_t fan_out = 1, const Observer* observer = nullptr,
                     PixelSize size = {}) const;

  // Token ids [M, 77] int64 for each text encoder -> their embeddings side by side: text [M, 77, D], and pooled [M, P]
  // of those that have a projection.
  TextEmbeddings encode_text(const std::vector<at::Tensor>& ids) const;

  // Of images whose latents or pixels x are, [.., h, w].
  PixelSize pixels(const at::Tensor& x) const;

  // After memory ran out: frees what can be made again, the caches of the process and this model's graphs.
  void release_memory(const at::Device& device) const noexcept;

  // Interleaved RGB bytes of B images of the same size -> what the denoiser denoises, fp32 on the model's device:
  // (VAE posterior mean - shift_factor) x scaling_factor [B, C, h, w]; pixel models x / 127.5 - 1 (folded where the
  // model folds). images [B, H, W, 3] uint8. Images whose sides the model cannot take are cut at right and bottom.
  // Cancelled between the VAE's passes.
  at::Tensor encode_images(const at::Tensor& images, const Context& context = {}) const;

  // A loss map [.., C, h, w] in the denoiser's layout -> [.., h', w']: unfolded (pixel_shuffle) where folded, then
  // averaged over channels.
  at::Tensor channel_mean(const at::Tensor& loss) const;
};

}  // namespace diffmine
