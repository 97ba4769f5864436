// DIFT features (Tang et al., NeurIPS 2023) of patches: one forward pass per image and noise, which ends after the
// block.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/context.h"
#include "models/model.h"

namespace diffmine {

struct DiftOptions {
  int64_t timestep = 161;
  int64_t block = 1;     // of the denoiser's feature blocks
  int64_t ensemble = 8;  // noises averaged
  uint64_t seed = 0;
  int64_t batch = 8;  // rows a forward pass
  PixelSize size;     // of the images; by default that of the latents
};

struct PixelBox {
  double row_begin, column_begin, row_end, column_end;
};  // half-open, pixels of the scored image

// latents [B, C, h, w]; conditions_index [B] rows of `conditions`; noises optional [E, ...] or [B, E, C, h, w].
// Returns the ensemble means of the block's output [B, F, fh, fw] fp32.
at::Tensor dift_features(const Model& model, const Conditions& conditions, const at::Tensor& latents,
                         const at::Tensor& condition_index, const DiftOptions& options,
                         const std::optional<at::Tensor>& noises = {}, const Context& context = {});

// Mean over the box's cells [int(r0 h / H), int(r1 h / H)) x ..., divided by its L2 norm; a box within one cell takes
// the nearest cell. feature [F, fh, fw]; the image is height x width px. Returns [boxes, F].
at::Tensor pool_boxes(const at::Tensor& feature, const std::vector<PixelBox>& boxes, int64_t height, int64_t width);

}  // namespace diffmine
