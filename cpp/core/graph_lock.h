// Captures of CUDA graphs and what must not happen during one, put in order. Needs no GPU.
#pragma once
#include <c10/core/Device.h>

#include <mutex>
#include <shared_mutex>

namespace diffmine {

// Held while a graph of one card is captured: one capture at a time on each card, and no CacheLock meanwhile on any.
class CaptureLock {
 public:
  explicit CaptureLock(const c10::Device& device);

 private:
  const std::shared_lock<std::shared_mutex> no_emptying_;
  const std::unique_lock<std::mutex> card_;
};

// Held by who empties LibTorch's CUDA cache, which it does for all cards at once and asserts that none captures; and by
// who recovers from memory that ran out: during a capture LibTorch frees nothing of its cache, so that what fails then
// may not fail after it. Waits for captures to end.
class CacheLock {
 public:
  CacheLock();

 private:
  const std::unique_lock<std::shared_mutex> lock_;
};

}  // namespace diffmine
