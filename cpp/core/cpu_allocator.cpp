#include "core/cpu_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <list>
#include <mutex>
#include <unordered_map>
#ifdef __GLIBC__  // which the headers above define
#include <malloc.h>
#endif

namespace diffmine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLarge = size_t{1} << 20;

// Sizes in steps of an eighth to a quarter, so that shapes that are nearly alike share blocks.
size_t round_up(size_t bytes) {
  size_t step = kLarge / 8;
  while (step * 16 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

struct Block {
  size_t bytes;
  void* data;
  Clock::time_point freed;
};
using Blocks = std::list<Block>;

void free_all(const Blocks& blocks) {
  for (const Block& block : blocks) c10::free_cpu(block.data);
}

// Makes malloc keep what passes the cache by. By default it asks the system for each block of 128 KB or more, and gives
// back what is free at the end of a heap, so that a forward pass faults the same pages in again and again.
void keep_small_blocks() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

void trim_malloc() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

// How many large blocks that live have an address of each hash: where none has, a pointer is no large block's, and no
// lock is needed to know.
class Filter {
 public:
  void add(const void* data) { slot(data).fetch_add(1, std::memory_order_relaxed); }
  void remove(const void* data) { slot(data).fetch_sub(1, std::memory_order_relaxed); }
  // Whoever frees a block was given its address by who allocated it, so that it sees the block counted.
  bool may_hold(const void* data) { return slot(data).load(std::memory_order_relaxed) != 0; }

 private:
  static constexpr int kBits = 14;
  std::atomic<uint32_t>& slot(const void* data) {
    return counts_[(reinterpret_cast<uintptr_t>(data) >> 6) * 0x9e3779b97f4a7c15u >> (64 - kBits)];
  }
  std::array<std::atomic<uint32_t>, size_t{1} << kBits> counts_{};
};

class Cache final : public c10::Allocator {
 public:
  static Cache& instance() {
    static auto* const cache = new Cache;  // never destroyed: tensors of static life are freed after everything else
    return *cache;
  }

  c10::DataPtr allocate(size_t bytes) override {
    const bool cached = bytes >= kLarge && bypasses.load(std::memory_order_relaxed) == 0;
    void* const data = cached ? take(round_up(bytes)) : c10::alloc_cpu(bytes);
    return {data, data, cached ? &give_back : &c10::free_cpu, c10::Device(c10::kCPU)};
  }
  // Of memory of any size, and of what LibTorch's own allocator has given out: what oneDNN frees may be older than the
  // cache.
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  void add_user() {
    keep_small_blocks();
    const std::lock_guard lock(mutex_);
    if (users_++ == 0 && c10::GetCPUAllocator() != this) c10::SetCPUAllocator(this);
  }
  void remove_user() {
    Blocks released;
    const std::lock_guard lock(mutex_);
    if (--users_ == 0) drop_all(released);
    free_all(released);
  }
  void empty() {
    Blocks released;
    {
      const std::lock_guard lock(mutex_);
      drop_all(released);
    }
    free_all(released);
    trim_malloc();
  }
  void release(Clock::time_point freed) {
    Blocks released;
    {
      const std::lock_guard lock(mutex_);
      while (!free_.empty() && free_.back().freed <= freed) drop_last(released);
      if (free_.empty()) peak_ = used_;
    }
    free_all(released);
  }
  CpuCachingAllocator::Size size() {
    const std::lock_guard lock(mutex_);
    return {static_cast<int64_t>(used_), static_cast<int64_t>(cached_)};
  }

  std::atomic<int> bypasses{0};

 private:
  // The system is asked, and given back to, without the lock: mapping pages takes its time.
  void* take(size_t bytes) {
    Blocks released;
    void* data = nullptr;
    {
      const std::lock_guard lock(mutex_);
      const auto found =
          std::find_if(free_.begin(), free_.end(), [&](const Block& block) { return block.bytes == bytes; });
      if (found != free_.end()) {
        data = found->data;
        free_.erase(found);
        cached_ -= bytes;
        count(data, bytes);
        return data;
      }
      for (const size_t max = room(used_ + bytes); cached_ > max;) drop_last(released);
    }
    free_all(released);
    try {
      data = c10::alloc_cpu(bytes);
    } catch (const std::exception&) {  // no memory left, but for what is cached here
      empty();
      data = c10::alloc_cpu(bytes);
    }
    const std::lock_guard lock(mutex_);
    count(data, bytes);
    return data;
  }

  static void give_back(void* data) {
    auto& cache = instance();
    if (!cache.filter_.may_hold(data)) return c10::free_cpu(data);
    Blocks released;
    {
      const std::lock_guard lock(cache.mutex_);
      const auto found = cache.sizes_.find(data);
      if (found == cache.sizes_.end()) {
        released.push_front({0, data, {}});
      } else {
        const size_t bytes = found->second;
        cache.sizes_.erase(found);
        cache.filter_.remove(data);
        cache.used_ -= bytes;
        cache.cached_ += bytes;
        cache.free_.push_front({bytes, data, Clock::now()});
        if (cache.users_ == 0) cache.drop_all(released);
        for (const size_t max = cache.room(cache.used_); cache.cached_ > max;) cache.drop_last(released);
      }
    }
    free_all(released);
  }

  // With the lock held, as all below.
  void count(void* data, size_t bytes) {
    sizes_.emplace(data, bytes);
    filter_.add(data);
    used_ += bytes;
    peak_ = std::max(peak_, used_);
  }

  // What may be cached beside `used` bytes: all in all a quarter more than was ever used at once.
  size_t room(size_t used) const {
    const size_t peak = std::max(peak_, used);
    return peak + peak / 4 - used;
  }

  // What has lain longest goes first: its size comes no more.
  void drop_last(Blocks& to) {
    cached_ -= free_.back().bytes;
    to.splice(to.end(), free_, std::prev(free_.end()));
  }
  void drop_all(Blocks& to) {
    to.splice(to.end(), free_);
    cached_ = 0;
    peak_ = used_;
  }

  Filter filter_;
  std::mutex mutex_;                         // guards the rest
  Blocks free_;                              // the last freed first
  std::unordered_map<void*, size_t> sizes_;  // of what is in use
  size_t used_ = 0, cached_ = 0, peak_ = 0;
  int users_ = 0;
};

}  // namespace

CpuCachingAllocator::CpuCachingAllocator() { Cache::instance().add_user(); }
CpuCachingAllocator::~CpuCachingAllocator() { Cache::instance().remove_user(); }

void CpuCachingAllocator::empty() { Cache::instance().empty(); }
void CpuCachingAllocator::release(Clock::time_point freed) { Cache::instance().release(freed); }
void CpuCachingAllocator::trim() { trim_malloc(); }
CpuCachingAllocator::Size CpuCachingAllocator::size() { return Cache::instance().size(); }

CpuCachingAllocator::Bypass::Bypass(bool bypass) : bypass_(bypass) {
  if (bypass_) Cache::instance().bypasses.fetch_add(1, std::memory_order_relaxed);
}
CpuCachingAllocator::Bypass::~Bypass() {
  if (bypass_) Cache::instance().bypasses.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace diffmine
