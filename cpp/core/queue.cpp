#include "core/queue.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace diffmine {

void DeviceQueue::mark() {
  if (device_.is_cpu()) return;
  marks_.emplace_back(device_.type());
  marks_.back().record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

void DeviceQueue::wait_for_room() {
  for (; marks_.size() >= max_; marks_.pop_front()) marks_.front().synchronize();
}

at::Tensor upload(const at::Tensor& tensor, const at::Device& device, bool pinned) {
  if (device.is_cpu() || !tensor.is_cpu()) return tensor.to(device);
  return pinned ? tensor.pin_memory().to(device, /*non_blocking=*/true) : tensor.to(device);
}

}  // namespace diffmine
