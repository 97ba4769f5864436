#include "image_batch.h"

namespace diffmine::binding {

ImageBatch batch_argument(const Arg& input) {
  ImageBatch batch;
  const Arg views = input["images"], given = input["latents"];
  if (views.present() == given.present()) {
    throw Error(code::kInvalidArgument, "Expected either " + views.name() + " or " + given.name() + ", got " +
                                            (views.present() ? "both." : "neither."));
  }
  if (views.present()) {
    batch.images = views.images();
    batch.count = batch.images.size(0);
  } else {
    batch.latents = given.tensor(at::kFloat, 4);
    batch.height = input["height"].integer(1, INT32_MAX);
    batch.width = input["width"].integer(1, INT32_MAX);
    batch.count = batch.latents.size(0);
  }
  return batch;
}

}  // namespace diffmine::binding
