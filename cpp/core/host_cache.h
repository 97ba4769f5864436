// Host memory of large tensors, kept when they are freed and handed out again: a forward pass allocates the same sizes over and over, and what malloc gives
// back to the system must be zeroed and mapped anew by it, page by page, every time.
#pragma once
#include <cstdint>

namespace diffmine {

// From now on, and for the whole process, LibTorch's CPU tensors come from the cache. Small ones, and those of threads that leave Lever::kHostCache out,
// are allocated as before.
void use_host_cache();

// What is kept for later goes back to the system.
void empty_host_cache();

struct HostCacheSize {
  int64_t used = 0, kept = 0;  // bytes of large tensors that live, and of what waits to be handed out again
};
HostCacheSize host_cache_size();

}  // namespace diffmine
