#include "models/model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/pixel_unshuffle.h>

#include <algorithm>
#include <vector>

#include "core/cpu_allocator.h"
#include "core/device_memory.h"
#include "core/error.h"
#include "core/graph_lock.h"
#include "models/denoiser_graph.h"

namespace diffmine {
namespace {

// Pixels the VAE encodes at once: its activations (128 channels at full size) grow with them, its speed hardly does.
constexpr int64_t kVaePixelsCpu = 512 * 512, kVaePixelsGpu = 4 * 512 * 512;

at::Tensor scaled(const at::Tensor& mean, const VaeConfig& config) {
  return (config.shift_factor == 0 ? mean : mean - config.shift_factor) * config.scaling_factor;
}

}  // namespace

at::Tensor Model::forward(const at::Tensor& x, const at::Tensor& t, const std::shared_ptr<const Conditions>& conditions,
                          const at::Tensor& condition_index, int64_t fan_out, const Observer* observer,
                          PixelSize size) const {
  if (size == PixelSize{}) size = pixels(x);
  if (graphs && !observer) return graphs->forward(x, t, conditions, condition_index, fan_out, size);
  return denoiser->forward(x, t, *conditions, condition_index, fan_out, observer, size);
}

TextEmbeddings Model::encode_text(const std::vector<at::Tensor>& ids) const {
  if (text_encoders.empty())
    throw Error(code::kInvalidArgument, "The model has no text encoder: its conditions are class labels.");
  if (ids.size() != text_encoders.size()) {
    throw Error(code::kInvalidArgument, "The model takes token ids for each of its " +
                                            std::to_string(text_encoders.size()) + " text encoders.");
  }
  std::vector<at::Tensor> text, pooled;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].sizes() != ids[0].sizes())
      throw Error(code::kInvalidArgument, "The text encoders' token ids must have one shape.");
    auto embeddings = text_encoders[i]->forward(ids[i]);
    text.push_back(std::move(embeddings.text));
    if (embeddings.pooled.defined()) pooled.push_back(std::move(embeddings.pooled));
  }
  return {at::cat(text, -1), pooled.empty() ? at::Tensor() : at::cat(pooled, -1)};
}

PixelSize Model::pixels(const at::Tensor& x) const {
  const int64_t cell = vae ? vae->factor() : denoiser->pixel_fold();
  return {x.size(-2) * cell, x.size(-1) * cell};
}

void Model::release_memory(const at::Device& device) const noexcept try {
  CpuCachingAllocator::empty();
  if (!device.is_cuda()) return;
  const CacheLock lock;  // not before a capture of another engine has ended: the caller tries again after this
  if (graphs) graphs->clear();
  empty_device_cache();
} catch (...) {
  // The device has failed for good, as the next call will say.
}

at::Tensor Model::encode_images(const at::Tensor& images, const Context& context) const {
  if (images.dim() != 4 || images.size(3) != 3 || images.scalar_type() != at::kByte) {
    throw Error(code::kInvalidArgument, "Images must be bytes [B, height, width, 3].");
  }
  const int64_t fold = denoiser->pixel_fold(), multiple = denoiser->size_multiple();
  // Only what the denoiser cannot take is cut: a VAE rounds odd sizes down by itself.
  const int64_t step = vae ? (multiple > 1 ? multiple * vae->factor() : 1) : multiple * fold;
  const int64_t height = images.size(1) / step * step, width = images.size(2) / step * step;
  if (height == 0 || width == 0) {
    throw Error(code::kInvalidArgument,
                "An image of " + std::to_string(images.size(2)) + " x " + std::to_string(images.size(1)) +
                    " px is smaller than the model's minimum (" + std::to_string(step) + " px).");
  }
  const auto cut = images.slice(1, 0, height).slice(2, 0, width);
  const auto to_input = [&](const at::Tensor& bytes) {  // [B, 3, H, W] in [-1, 1]
    return bytes.to(denoiser->device()).permute({0, 3, 1, 2}).to(at::kFloat).div_(127.5).sub_(1.0);
  };
  if (!vae) {
    const auto x = to_input(cut).contiguous();
    return fold > 1 ? at::pixel_unshuffle(x, fold) : x;
  }
  const int64_t pixels = denoiser->device().is_cpu() ? kVaePixelsCpu : kVaePixelsGpu;
  const int64_t at_once = std::max<int64_t>(1, pixels / (height * width));
  std::vector<at::Tensor> latents;
  for (int64_t b = 0; b < cut.size(0); b += at_once) {
    context.check_cancelled();
    const auto posterior = vae->encode(to_input(cut.slice(0, b, std::min(b + at_once, cut.size(0)))));
    latents.push_back(scaled(posterior.mean.to(at::kFloat), vae->config()));
  }
  if (latents.empty()) throw Error(code::kInvalidArgument, "There is no image to encode.");
  return at::cat(latents).contiguous();
}

at::Tensor Model::channel_mean(const at::Tensor& loss) const {
  const int64_t fold = denoiser->pixel_fold();
  return (fold > 1 ? at::pixel_shuffle(loss, fold) : loss).mean(-3);
}

}  // namespace diffmine
