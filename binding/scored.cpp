#include "scored.h"

#include "core/queue.h"
#include "core/stage.h"
#include "models/model.h"

namespace diffmine::binding {

Scored::Scored(const Arg& input) {
  const Arg views = input["images"], given = input["latents"];
  if (views.present() == given.present()) {
    throw Error(code::kInvalidArgument, "Expected either " + views.name() + " or " + given.name() + ", got " +
                                            (views.present() ? "both." : "neither."));
  }
  if (views.present()) {
    images = views.images();
    count = images.size(0);
  } else {
    latents = given.tensor(at::kFloat, 4);
    height = input["height"].integer(1, INT32_MAX);
    width = input["width"].integer(1, INT32_MAX);
    count = latents.size(0);
  }
}

void Scored::encode(const Engine& engine, const Context& context) {
  const Stage stage("encode");
  const Model& model = engine.model();
  if (!images.defined()) {
    latents = latents.to(engine.device());
    return;
  }
  latents = model.encode_pictures(upload(images, engine.device(), engine.options().pinned_uploads), context);
  measure(model);
}

std::unique_ptr<EncodeAhead> Scored::encode_ahead(const Engine& engine, const Context& context) {
  const Model& model = engine.model();
  if (!images.defined() || count < 2 || !model.vae || !engine.device().is_cuda() || !engine.options().encode_ahead) {
    encode(engine, context);
    return nullptr;
  }
  auto ahead = std::make_unique<EncodeAhead>(model, upload(images, engine.device(), engine.options().pinned_uploads), context);
  latents = ahead->latents();
  measure(model);
  return ahead;
}

// Pixel models and those that take no odd sizes see the picture cut (Model::encode_pictures); a VAE alone rounds down.
void Scored::measure(const Model& model) {
  const bool cut = !model.vae || model.unet->size_multiple() > 1;
  const int64_t cell = model.vae ? model.vae->factor() : model.unet->config().pixel_fold;
  height = cut ? latents.size(2) * cell : images.size(1);
  width = cut ? latents.size(3) * cell : images.size(2);
}

}  // namespace diffmine::binding
