// What long work is given: a way to be cancelled and a place to report progress.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "core/error.h"

namespace diffmine {

// Set from any thread; looked at between batches.
class CancelToken {
 public:
  void cancel() noexcept { flag_.store(true, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return flag_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> flag_{false};
};

struct Progress {
  std::string stage;  // "load", "encode", "score", "features", "cluster"
  int64_t done = 0;   // in `unit`s
  int64_t total = 0;
};

struct Context {
  const CancelToken* cancel = nullptr;
  std::function<void(const Progress&)> on_progress;

  void check_cancelled() const {
    if (cancel && cancel->cancelled()) throw Error(code::kCancelled, "The work was cancelled.");
  }
  void report(const char* stage, int64_t done, int64_t total) const {
    if (on_progress) on_progress({stage, done, total});
  }
};

}  // namespace diffmine
