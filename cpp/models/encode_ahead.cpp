#include "models/encode_ahead.h"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <exception>

#include "core/stage.h"

namespace diffmine {

EncodeAhead::EncodeAhead(const Model& model, const at::Tensor& images, const Context& context)
    : model_(model), images_(images) {
  {
    const Stage stage("encode");
    const auto first = model_.encode_images(images_.slice(0, 0, 1), context);
    latents_ = at::empty({images_.size(0), first.size(1), first.size(2), first.size(3)}, first.options());
    latents_.slice(0, 0, 1).copy_(first);
  }
  encoded_ = 1;
  const auto device = latents_.device();
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  // One of a thread for all its calls: LibTorch's allocator keeps what it frees for the stream it was taken on, and its
  // pool has 32 of them.
  static thread_local std::optional<c10::Stream> own;
  if (!own || own->device() != device) own = guard.getStreamFromGlobalPool(device, /*isHighPriority=*/false);
  side_ = own;
  // What the images and the latents' memory were made by comes before whatever the side stream does.
  done_.emplace_back(device.type());
  done_.back().record(guard.getStream(device));
  done_.back().block(*side_);
}

EncodeAhead::~EncodeAhead() {
  if (!side_) return;
  try {
    side_->synchronize();
  } catch (const std::exception&) {
    // The device has failed: nothing runs on it.
  }
}

void EncodeAhead::encode(int64_t image, const Context& context) {
  const Stage stage("encode");
  const c10::OptionalStreamGuard side(side_);
  latents_.slice(0, image, image + 1).copy_(model_.encode_images(images_.slice(0, image, image + 1), context));
  if (!side_) return;
  done_.emplace_back(side_->device_type());
  done_.back().record(*side_);
}

void EncodeAhead::need(int64_t image, const Context& context) {
  for (const int64_t last = std::min(image + 1, images_.size(0) - 1); encoded_ <= last; ++encoded_)
    encode(encoded_, context);
  if (side_)
    done_[static_cast<size_t>(image)].block(
        c10::impl::VirtualGuardImpl(side_->device_type()).getStream(side_->device()));
}

}  // namespace diffmine
