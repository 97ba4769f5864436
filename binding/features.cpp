// DIFT features of patches.
#include "features/dift.h"

#include <ATen/ops/tensor.h>

#include "calls.h"
#include "image_batch.h"
#include "task.h"
#include "unet.h"

namespace diffmine::binding {
namespace {

DiftOptions options_argument(const Arg& arg) {
  DiftOptions o;
  o.timestep = arg["timestep"].integer(0);
  o.block = arg["upBlock"].integer(0);
  o.ensemble = arg["ensemble"].integer(1, UINT32_MAX);
  o.seed = arg["seed"].uint64();
  o.batch = arg["batch"].integer(1, INT32_MAX);
  return o;
}

std::vector<std::vector<PixelBox>> boxes_argument(const Arg& arg, int64_t images) {
  std::vector<std::vector<PixelBox>> boxes;
  for (const Arg& of_image : arg.items()) {
    std::vector<PixelBox>& list = boxes.emplace_back();
    for (const Arg& box : of_image.items()) {
      list.push_back(
          {box["rowBegin"].number(), box["columnBegin"].number(), box["rowEnd"].number(), box["columnEnd"].number()});
      if (list.back().row_begin > list.back().row_end || list.back().column_begin > list.back().column_end) {
        box.fail("a box that ends after it begins");
      }
    }
  }
  if (static_cast<int64_t>(boxes.size()) != images)
    arg.fail("one list of boxes for each of the " + std::to_string(images) + " images");
  return boxes;
}

}  // namespace

Napi::Value dift(Info info) {
  const auto handle = ConditionsHandle::from({info[1], "conditions"}, Engine::from({info[0], "engine"}));
  const Arg input(info[2], "input");
  const ImageBatch batch = batch_argument(input);
  const auto boxes = boxes_argument(input["boxes"], batch.count);
  const auto rows = input["conditions"].integers(0, handle.rows - 1);
  if (static_cast<int64_t>(rows.size()) != batch.count) input["conditions"].fail("one condition row for each image");
  std::optional<at::Tensor> noises;
  if (input["noises"].present()) noises = input["noises"].tensor(at::kFloat);
  const bool keep_features = input["keepFeatures"].boolean(false);
  const DiftOptions options = options_argument({info[3], "options"});

  return Task::start(info, 4, {info[1]}, [=](Engine& engine, const Context& context) -> Task::Result {
    ImageBatch images = batch;
    images.encode(engine.model(), context);
    DiftOptions sized = options;
    sized.size = {images.height, images.width};
    at::Tensor features = dift_features(engine.model(), *handle.conditions, images.latents, at::tensor(rows, at::kLong),
                                        sized, noises, context);
    std::vector<at::Tensor> patches;
    for (int64_t b = 0; b < images.count; ++b) {
      patches.push_back(own(pool_boxes(features.select(0, b), boxes[b], images.height, images.width)));
    }
    features = keep_features ? own(std::move(features)) : at::Tensor();
    return [patches, features](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env);
      Napi::Array list = Napi::Array::New(env, patches.size());
      for (size_t b = 0; b < patches.size(); ++b) list.Set(static_cast<uint32_t>(b), to_js(env, patches[b]));
      result["patches"] = list;
      if (features.defined()) result["features"] = to_js(env, features);
      return result;
    };
  });
}

}  // namespace diffmine::binding
