// What may happen beside a capture, and what waits for its end.
#include "core/graph_lock.h"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

using namespace diffmine;

namespace {

const c10::Device kFirst(c10::kCUDA, 0), kSecond(c10::kCUDA, 1);

// Takes a lock on a thread of its own, and holds it until told to let go.
class Holder {
 public:
  template <class Take>
  explicit Holder(Take take)
      : thread_([this, take] {
          const auto lock = take();
          held_ = true;
          held_.notify_all();
          released_.wait(false);
        }) {}
  ~Holder() { let_go(); }
  bool held() const { return held_; }
  void wait() const { held_.wait(false); }
  void let_go() {
    released_ = true;
    released_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> held_{false}, released_{false};
  std::thread thread_;
};

auto capture(const c10::Device& device) {
  return [device] { return std::make_unique<CaptureLock>(device); };
}
auto emptying() {
  return [] { return std::make_unique<CacheLock>(); };
}

// Time for a thread to come in where it should not; that it stays out cannot be waited for.
void breathe() {
  for (int i = 0; i < 2000; ++i) std::this_thread::yield();
}

}  // namespace

TEST_CASE("captures: one at a time on a card, cards beside each other") {
  Holder first(capture(kFirst));
  first.wait();
  Holder other_card(capture(kSecond));
  other_card.wait();
  Holder same_card(capture(kFirst));
  breathe();
  CHECK_FALSE(same_card.held());
  first.let_go();
  same_card.wait();
}

TEST_CASE("captures: the cache is emptied, and memory recovered, between them on every card") {
  Holder first(capture(kFirst)), second(capture(kSecond));
  first.wait(), second.wait();
  Holder recovery(emptying());
  breathe();
  CHECK_FALSE(recovery.held());
  first.let_go();
  breathe();
  CHECK_FALSE(recovery.held());
  second.let_go();
  recovery.wait();
  Holder third(capture(kSecond));
  breathe();
  CHECK_FALSE(third.held());
  recovery.let_go();
  third.wait();
}

// What is guarded: emptying never sees a capture, captures of a card never see each other.
TEST_CASE("captures: nothing overlaps that must not, from many threads") {
  std::atomic<int> capturing[2] = {0, 0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        if (t % 3 == 2) {
          const CacheLock lock;
          wrong += capturing[0] + capturing[1];
        } else {
          const CaptureLock lock(t % 3 ? kSecond : kFirst);
          wrong += capturing[t % 3]++;
          std::this_thread::yield();
          --capturing[t % 3];
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}
