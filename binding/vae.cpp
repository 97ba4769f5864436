// The VAE, and what the UNet denoises.
#include "models/vae.h"

#include <ATen/TensorOperators.h>

#include "calls.h"
#include "core/queue.h"
#include "engine.h"
#include "task.h"

namespace diffmine::binding {
namespace {

const Vae& vae_of(const Engine& engine) {
  const auto& vae = engine.model().vae;
  if (!vae) throw Error(code::kInvalidArgument, "The model has no VAE: it denoises pixels.");
  return *vae;
}

}  // namespace

Napi::Value vae_encode(Info info) {
  const at::Tensor images = Arg(info[1], "images").images();
  return Task::start(info, 2, {}, [images](Engine& engine, const Context&) -> Task::Result {
    const auto bytes = upload(images, engine.device(), engine.options().pinned_uploads);
    auto posterior = vae_of(engine).encode(
        bytes.permute({0, 3, 1, 2}).to(at::kFloat).div_(127.5).sub_(1.0));  // [B, 3, H, W] in [-1, 1]
    const auto mean = own(std::move(posterior.mean)), logvar = own(std::move(posterior.logvar));
    return [mean, logvar](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env);
      result["mean"] = to_js(env, mean);
      result["logvar"] = to_js(env, logvar);
      return result;
    };
  });
}

Napi::Value vae_decode(Info info) {
  const at::Tensor latents = Arg(info[1], "latents").tensor(at::kFloat, 4);
  return Task::start(info, 2, {}, [latents](Engine& engine, const Context&) -> Task::Result {
    const auto images = own(vae_of(engine).decode(latents.to(engine.device())));
    return [images](Napi::Env env) { return to_js(env, images); };
  });
}

Napi::Value encode_images(Info info) {
  const at::Tensor images = Arg(info[1], "images").images();
  return Task::start(info, 2, {}, [images](Engine& engine, const Context& context) -> Task::Result {
    const auto latents =
        own(engine.model().encode_images(upload(images, engine.device(), engine.options().pinned_uploads), context));
    return [latents](Napi::Env env) { return to_js(env, latents); };
  });
}

}  // namespace diffmine::binding
