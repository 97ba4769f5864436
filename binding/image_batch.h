// The argument that typicality and features share.
#pragma once
#include "convert.h"
#include "models/image_batch.h"

namespace diffmine::binding {

// Images, or latents with the images' size.
ImageBatch batch_argument(const Arg& input);

}  // namespace diffmine::binding
