// Encodes images while those before them are scored: on a GPU, on a separate stream, which fills what scoring leaves
// idle.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/context.h"
#include "models/model.h"

namespace diffmine {

class EncodeAhead {
 public:
  // images [B, H, W, 3] bytes, B >= 1, as Model::encode_images takes them, on the model's device. Encodes the first.
  EncodeAhead(const Model& model, const at::Tensor& images, const Context& context);
  // Waits for what is under way: it writes to memory of this object.
  ~EncodeAhead();
  EncodeAhead(const EncodeAhead&) = delete;
  EncodeAhead& operator=(const EncodeAhead&) = delete;

  // [B, C, h, w] fp32; those of image b may be read by what is queued on the current stream after need(b).
  const at::Tensor& latents() const { return latents_; }
  // Begins with the next image, too. Throws what encoding throws.
  void need(int64_t image, const Context& context);

 private:
  void encode(int64_t image, const Context& context);
  const Model& model_;
  const at::Tensor images_;
  at::Tensor latents_;
  std::optional<c10::Stream> side_;  // none on a CPU
  std::vector<c10::Event> done_;     // of each encoded image, on a GPU
  int64_t encoded_ = 0;
};

}  // namespace diffmine
