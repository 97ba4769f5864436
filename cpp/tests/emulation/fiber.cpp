#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(from, size)
static void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

#if defined(__x86_64__)
// Saves what a callee must keep, and the stack pointer in *from; continues where `to` stopped. ucontext makes a system
// call in each switch, a hundred times the cost.
extern "C" void emulation_switch(void** from, void* to);
asm(R"(
.text
.type emulation_switch, @function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch, . - emulation_switch
)");
#else
#include <ucontext.h>
#endif

namespace emulation {
namespace {

constexpr size_t kStack = 256 << 10;  // room for a sanitizer's report; untouched pages cost nothing
Fiber* entering = nullptr;

}  // namespace

Fiber::Fiber(std::function<void()> body)
    : body_(std::move(body)),
      memory_(static_cast<char*>(
          ::mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
  if (memory_ == MAP_FAILED || ::mprotect(memory_, static_cast<size_t>(::getpagesize()), PROT_NONE) != 0)
    throw std::bad_alloc();
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(memory_ + kStack);
  top[-2] = reinterpret_cast<void*>(&Fiber::enter);  // where the first switch returns to, the stack as after a call
  own_ = top - 8;                                    // below it six registers
#else
  auto* context = new ucontext_t;
  ::getcontext(context);
  context->uc_stack.ss_sp = memory_;
  context->uc_stack.ss_size = kStack;
  ::makecontext(context, &Fiber::enter, 0);
  own_ = context, resumer_ = new ucontext_t;
#endif
}

Fiber::~Fiber() {
#if !defined(__x86_64__)
  delete static_cast<ucontext_t*>(own_);
  delete static_cast<ucontext_t*>(resumer_);
#endif
  ASAN_UNPOISON_MEMORY_REGION(memory_, kStack);
  ::munmap(memory_, kStack);
}

void Fiber::switch_to_body() {
#if defined(__x86_64__)
  emulation_switch(&resumer_, own_);
#else
  ::swapcontext(static_cast<ucontext_t*>(resumer_), static_cast<ucontext_t*>(own_));
#endif
}

void Fiber::switch_to_resumer() {
#if defined(__x86_64__)
  emulation_switch(&own_, resumer_);
#else
  ::swapcontext(static_cast<ucontext_t*>(own_), static_cast<ucontext_t*>(resumer_));
#endif
}

void Fiber::resume() {
  entering = this;
  __sanitizer_start_switch_fiber(&resumer_fake_, memory_, kStack);
  switch_to_body();
  __sanitizer_finish_switch_fiber(resumer_fake_, nullptr, nullptr);
}

void Fiber::arrived_in_body() { __sanitizer_finish_switch_fiber(own_fake_, &resumer_stack_, &resumer_size_); }

void Fiber::yield() {
  __sanitizer_start_switch_fiber(&own_fake_, resumer_stack_, resumer_size_);
  switch_to_resumer();
  arrived_in_body();
}

void Fiber::enter() {
  Fiber& self = *entering;
  self.arrived_in_body();
  for (;;) {
    self.body_();
    self.yield();
  }
}

}  // namespace emulation
