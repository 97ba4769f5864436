// What typicality and features are computed of: pictures, or latents with the pictures' size.
#pragma once
#include <memory>

#include "core/context.h"
#include "engine.h"
#include "models/encode_ahead.h"

namespace diffmine::binding {

struct Scored {
  std::vector<PictureView> pictures;
  at::Tensor latents;             // [B, C, h, w] in their place
  int64_t height = 0, width = 0;  // pixels of the pictures as the model sees them; with `pictures`, known after `encode`
  int64_t count = 0;              // B

  Scored(const Arg& input, std::vector<Napi::Value>& keep);
  // On the engine's thread: latents from pictures.
  void encode(const Engine& engine, const Context& context);
  // Likewise, but where that pays only the first's, and the others as they are needed; nothing where all are there.
  std::unique_ptr<EncodeAhead> encode_ahead(const Engine& engine, const Context& context);

 private:
  void measure(const Model& model);
};

}  // namespace diffmine::binding
