// What typicality and features are computed of: images, or latents with the images' size.
#pragma once
#include <memory>

#include "core/context.h"
#include "engine.h"
#include "models/encode_ahead.h"

namespace diffmine::binding {

struct Scored {
  at::Tensor images;              // [B, H, W, 3] uint8, or
  at::Tensor latents;             // [B, C, h, w]
  int64_t height = 0, width = 0;  // pixels of the images as the model sees them; with `images`, known after `encode`
  int64_t count = 0;              // B

  explicit Scored(const Arg& input);
  // On the engine's thread: latents from images.
  void encode(const Engine& engine, const Context& context);
  // Likewise, but where that pays only the first's, and the others as they are needed; nothing where all are there.
  std::unique_ptr<EncodeAhead> encode_ahead(const Engine& engine, const Context& context);

 private:
  void measure(const Model& model);
};

}  // namespace diffmine::binding
