// A stack of its own for each emulated thread, changed to and from without the kernel's help.
#pragma once
#include <cstddef>
#include <functional>

namespace emulation {

class Fiber {
 public:
  explicit Fiber(
      std::function<void()> body);  // run from its start by the first resume, and by the first one after each return
  ~Fiber();
  Fiber(const Fiber&) = delete;

  void resume();  // until the body yields or returns
  void yield();   // in the body

 private:
  [[noreturn]] static void enter();
  void switch_to_body();
  void switch_to_resumer();
  void arrived_in_body();

  const std::function<void()> body_;
  char* const memory_;
  void *own_, *resumer_ = nullptr;                      // where each stopped
  void *own_fake_ = nullptr, *resumer_fake_ = nullptr;  // ASan's second stacks
  const void* resumer_stack_ = nullptr;
  size_t resumer_size_ = 0;
};

}  // namespace emulation
