#include "core/graph_lock.h"

#include <array>
#include <cstddef>

namespace diffmine {
namespace {

constexpr size_t kCards = 64;  // c10 has no more; cards that share a mutex would only wait for each other

std::shared_mutex& captures() {
  static std::shared_mutex mutex;
  return mutex;
}

std::mutex& card(const c10::Device& device) {
  static std::array<std::mutex, kCards> mutexes;
  return mutexes[device.has_index() ? static_cast<size_t>(device.index()) % kCards : 0];
}

}  // namespace

CaptureLock::CaptureLock(const c10::Device& device) : no_emptying_(captures()), card_(card(device)) {}

CacheLock::CacheLock() : lock_(captures()) {}

}  // namespace diffmine
