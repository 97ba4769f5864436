// The CPU caching allocator: memory of large tensors is kept when they are freed and handed out again. A forward pass
// allocates the same sizes over and over, and what malloc gives back to the system must be zeroed and mapped again by
// it, page by page, every time.
#pragma once
#include <chrono>
#include <cstdint>

namespace diffmine {

// As long as one of these lives, LibTorch's CPU tensors of the whole process come from the cache. Small ones pass it by
// and take no lock: glibc's malloc keeps up to 256 MB of theirs, also for the engines that follow. With the last one
// goes all that is cached; what is freed later is not cached.
class CpuCachingAllocator {
 public:
  CpuCachingAllocator();
  ~CpuCachingAllocator();
  CpuCachingAllocator(const CpuCachingAllocator&) = delete;
  CpuCachingAllocator& operator=(const CpuCachingAllocator&) = delete;

  // Returns cached memory to the system: all of it, or what was freed at `freed` or earlier.
  static void empty();
  static void release(std::chrono::steady_clock::time_point freed);
  // Returns what malloc keeps of small tensors; `empty` does so as well.
  static void trim();

  struct Size {
    int64_t used = 0, cached = 0;  // bytes of live large tensors, and bytes cached for later ones
  };
  static Size size();

  // In its scope no thread takes memory from the cache: for sizes that will not come again (weights), and to measure
  // what it is worth. The results of engines that work meanwhile do not depend on it.
  class Bypass {
   public:
    explicit Bypass(bool bypass = true);
    ~Bypass();
    Bypass(const Bypass&) = delete;
    Bypass& operator=(const Bypass&) = delete;

   private:
    const bool bypass_;
  };
};

}  // namespace diffmine
