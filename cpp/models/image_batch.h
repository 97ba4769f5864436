// What typicality and features are computed of: images of the same size, or their latents.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "core/context.h"
#include "models/encode_ahead.h"

namespace diffmine {

struct ImageBatch {
  at::Tensor images;   // [B, H, W, 3] uint8, or
  at::Tensor latents;  // [B, C, h, w]
  int64_t height = 0,
          width = 0;  // pixels of the images as the model sees them; known after encode where `images` are given
  int64_t count = 0;  // B

  // Makes the latents, on the model's device.
  void encode(const Model& model, const Context& context);
  // The same, but where this is faster, only the first image is encoded now and the others as they are needed. Null if
  // all are there.
  std::unique_ptr<EncodeAhead> encode_ahead(const Model& model, const Context& context);

 private:
  void measure(const Model& model);
};

}  // namespace diffmine
