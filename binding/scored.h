// What typicality and features are computed of: pictures, or latents with the pictures' size.
#pragma once
#include "core/context.h"
#include "engine.h"

namespace diffmine::binding {

struct Scored {
  std::vector<PictureView> pictures;
  at::Tensor latents;             // [B, C, h, w] in their place
  int64_t height = 0, width = 0;  // pixels of the pictures as the model sees them; with `pictures`, known after `encode`
  int64_t count = 0;              // B

  Scored(const Arg& input, std::vector<Napi::Value>& keep);
  // On the engine's thread: latents from pictures.
  void encode(const Engine& engine, const Context& context);
};

}  // namespace diffmine::binding
