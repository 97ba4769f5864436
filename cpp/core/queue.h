// How far a thread may run ahead of its GPU, and copies it need not wait for. Without a GPU nothing is ahead and
// nothing waits.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <cstddef>
#include <deque>

namespace diffmine {

// Pieces of work on the device's current stream, at most `max` of them not yet done.
class DeviceQueue {
 public:
  DeviceQueue(const at::Device& device, size_t max) : device_(device), max_(max) {}
  void mark();           // what was asked of the device since the last mark is one piece
  void wait_for_room();  // until one more piece may be queued

 private:
  const at::Device device_;
  const size_t max_;
  std::deque<c10::Event> marks_;
};

// `tensor` on the device. From the host it goes through pinned memory where asked to, so that the copy waits in the
// queue and the host does not.
at::Tensor upload(const at::Tensor& tensor, const at::Device& device, bool pinned = true);

}  // namespace diffmine
