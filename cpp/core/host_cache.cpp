#include "core/host_cache.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <exception>
#include <list>
#include <mutex>
#include <unordered_map>

#include "core/levers.h"

namespace diffmine {
namespace {

constexpr size_t kLarge = size_t{1} << 20;

// Sizes in steps of an eighth to a quarter, so that shapes that are nearly alike share blocks.
size_t round_up(size_t bytes) {
  size_t step = kLarge / 8;
  while (step * 16 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

class HostCache final : public c10::Allocator {
 public:
  static HostCache& instance() {
    static auto* const cache = new HostCache;  // never destroyed: tensors of static life are freed after everything else
    return *cache;
  }

  c10::DataPtr allocate(size_t bytes) override {
    void* const data = bytes >= kLarge && uses(Lever::kHostCache) ? take(round_up(bytes)) : c10::alloc_cpu(bytes);
    return {data, data, &give_back, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  void empty() {
    const std::lock_guard lock(mutex_);
    release(0);
  }
  HostCacheSize size() {
    const std::lock_guard lock(mutex_);
    return {static_cast<int64_t>(used_), static_cast<int64_t>(kept_)};
  }

 private:
  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    void* data = nullptr;
    const auto found = std::find_if(free_.begin(), free_.end(), [&](const Block& block) { return block.bytes == bytes; });
    if (found != free_.end()) {
      data = found->data;
      free_.erase(found);
      kept_ -= bytes;
    } else {
      release(room(used_ + bytes));
      try {
        data = c10::alloc_cpu(bytes);
      } catch (const std::exception&) {  // no memory left, but for what is kept here
        release(0);
        data = c10::alloc_cpu(bytes);
      }
    }
    sizes_.emplace(data, bytes);
    used_ += bytes;
    most_ = std::max(most_, used_);
    return data;
  }

  // Also of memory that LibTorch's own allocator has given out: what oneDNN frees may be older than the cache.
  static void give_back(void* data) {
    auto& cache = instance();
    const std::lock_guard lock(cache.mutex_);
    const auto found = cache.sizes_.find(data);
    if (found == cache.sizes_.end()) return c10::free_cpu(data);
    const size_t bytes = found->second;
    cache.sizes_.erase(found);
    cache.used_ -= bytes;
    cache.kept_ += bytes;
    cache.free_.push_front({bytes, data});
    cache.release(cache.room(cache.used_));
  }

  // What may be kept beside `used` bytes: all in all a quarter more than was ever used at once.
  size_t room(size_t used) const {
    const size_t most = std::max(most_, used);
    return most + most / 4 - used;
  }

  // Gives memory back to the system until no more than `most` bytes are kept, what has lain longest first: its size comes no more.
  void release(size_t most) {
    for (; kept_ > most; free_.pop_back()) {
      kept_ -= free_.back().bytes;
      c10::free_cpu(free_.back().data);
    }
    if (most == 0) most_ = used_;
  }

  struct Block {
    size_t bytes;
    void* data;
  };
  std::mutex mutex_;
  std::list<Block> free_;                    // the last freed first
  std::unordered_map<void*, size_t> sizes_;  // of what is in use
  size_t used_ = 0, kept_ = 0, most_ = 0;
};

}  // namespace

void use_host_cache() { c10::SetCPUAllocator(&HostCache::instance()); }

void empty_host_cache() { HostCache::instance().empty(); }

HostCacheSize host_cache_size() { return HostCache::instance().size(); }

}  // namespace diffmine
