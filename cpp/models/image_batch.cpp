#include "models/image_batch.h"

#include "core/queue.h"
#include "core/stage.h"

namespace diffmine {

void ImageBatch::encode(const Model& model, const Context& context) {
  const Stage stage("encode");
  if (!images.defined()) {
    latents = latents.to(model.denoiser->device());
    return;
  }
  latents = model.encode_images(upload(images, model.denoiser->device(), model.options.pinned_uploads), context);
  measure(model);
}

std::unique_ptr<EncodeAhead> ImageBatch::encode_ahead(const Model& model, const Context& context) {
  if (!images.defined() || count < 2 || !model.vae || !model.denoiser->device().is_cuda() ||
      !model.options.encode_ahead) {
    encode(model, context);
    return nullptr;
  }
  auto ahead = std::make_unique<EncodeAhead>(
      model, upload(images, model.denoiser->device(), model.options.pinned_uploads), context);
  latents = ahead->latents();
  measure(model);
  return ahead;
}

// Pixel models and those that take no odd sizes see the image cut (Model::encode_images); a VAE alone rounds down.
void ImageBatch::measure(const Model& model) {
  const bool cut = !model.vae || model.denoiser->size_multiple() > 1;
  const int64_t cell = model.vae ? model.vae->factor() : model.denoiser->pixel_fold();
  height = cut ? latents.size(2) * cell : images.size(1);
  width = cut ? latents.size(3) * cell : images.size(2);
}

}  // namespace diffmine
