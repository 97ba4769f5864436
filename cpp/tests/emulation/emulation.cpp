// The emulator: blocks one after another, their threads as fibers. A thread runs until it waits for others; which one
// is next is drawn from the seed of the running test, a warp at a time and as far as it comes, so that a missing
// barrier lets it run ahead of the rest.
//
// Where a kernel breaks a rule of CUDA the launch fails, and cudaGetErrorString tells where.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <array>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cuda/cuda_runtime.h"
#include "fiber.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

extern "C" char __start_cuda_shared[] __attribute__((weak)),
    __stop_cuda_shared[] __attribute__((weak));  // of the linker

namespace emulation {
namespace {

constexpr unsigned kWarp = 32, kMaxThreads = 1024;
constexpr size_t kMaxShared = 48 << 10;
constexpr uint32_t kPoison = 0x7fa5a5a5;  // NaN; as a whole number absurd

struct Violation {
  std::string what;
};

enum class State { kReady, kWithWarp, kWithBlock, kReturned };

struct Thread {
  explicit Thread(std::function<void()> body) : fiber(std::move(body)) {}
  Fiber fiber;
  State state = State::kReturned;
  Place place;  // where it waits
  unsigned mask = 0, source = 0;
  uint64_t value = 0;
};

std::mutex one_launch;
std::string error;
const std::function<void()>* kernel_thread = nullptr;
std::vector<std::unique_ptr<Thread>> threads;
Thread* running = nullptr;
std::vector<uint32_t> shared;

std::string where(const Place& place) {
  const std::string file = place.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(place.line());
}
std::string who(unsigned thread) {
  return "thread " + std::to_string(thread) + " of block (" + std::to_string(blockIdx.x) + ", " +
         std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + ")";
}
bool same(const Place& a, const Place& b) { return a.line() == b.line() && a.column() == b.column(); }

std::mt19937_64 random_numbers;

// Orders are part of what a test draws: its seed repeats them.
void draw_order() {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const std::lock_guard lock(generator.mutex());
  random_numbers.seed(at::check_generator<at::CPUGeneratorImpl>(generator)->random64());
}

template <class T>
void shuffle(T& order) {
  std::shuffle(order.begin(), order.end(), random_numbers);
}

template <class T>
std::vector<T> range(T n) {
  std::vector<T> all(n);
  std::iota(all.begin(), all.end(), T{0});
  return all;
}

// --- a block ---

void wait(State state, const Place& place) {
  Thread& thread = *running;
  thread.state = state, thread.place = place;
  thread.fiber.yield();
}

unsigned threads_of_block() { return blockDim.x * blockDim.y * blockDim.z; }

// Resumes lanes that wait for each other, once all of them have arrived. Returns whether there were any.
bool meet(unsigned warp) {
  bool any = false;
  for (unsigned lane = 0; lane < kWarp && warp * kWarp + lane < threads_of_block(); ++lane) {
    const unsigned index = warp * kWarp + lane;
    const Thread& own = *threads[index];
    if (own.state != State::kWithWarp) continue;
    const auto told = [&] { return who(index) + ", " + where(own.place) + ": "; };
    if (!(own.mask >> lane & 1)) throw Violation{told() + "the mask leaves out the lane that names it"};
    bool all = true;
    for (unsigned i = 0; i < kWarp; ++i) {
      if (!(own.mask >> i & 1)) continue;
      if (warp * kWarp + i >= threads_of_block() || threads[warp * kWarp + i]->state == State::kReturned) {
        throw Violation{told() + "the mask names lane " + std::to_string(i) + ", which takes no part"};
      }
      const Thread& other = *threads[warp * kWarp + i];
      if (other.state != State::kWithWarp) {
        all = false;
      } else if (other.mask != own.mask || !same(other.place, own.place)) {
        throw Violation{told() + "lane " + std::to_string(i) + " of the mask is at " + where(other.place) +
                        ", or has another mask"};
      }
    }
    if (!all) continue;
    std::array<uint64_t, kWarp> values{};
    uint64_t votes = 0;
    for (unsigned i = 0; i < kWarp; ++i) {
      if (!(own.mask >> i & 1)) continue;
      values[i] = threads[warp * kWarp + i]->value;
      votes |= static_cast<uint64_t>(values[i] != 0) << i;
    }
    for (unsigned i = 0; i < kWarp; ++i) {
      if (!(own.mask >> i & 1)) continue;
      Thread& other = *threads[warp * kWarp + i];
      if (other.source != kVote && !(own.mask >> other.source & 1)) {
        throw Violation{told() + "lane " + std::to_string(i) + " reads lane " + std::to_string(other.source) +
                        ", which is not in the mask"};
      }
      other.value = other.source == kVote ? votes : values[other.source];
      other.state = State::kReady;
    }
    any = true;
  }
  return any;
}

// Runs what can run of a warp.
void advance(unsigned warp, const std::vector<unsigned>& lanes) {
  do {
    for (const unsigned lane : lanes) {
      const unsigned index = warp * kWarp + lane;
      if (index >= threads_of_block() || threads[index]->state != State::kReady) continue;
      threadIdx = {index % blockDim.x, index / blockDim.x % blockDim.y, index / (blockDim.x * blockDim.y)};
      running = threads[index].get();
      running->fiber.resume();
    }
  } while (meet(warp));
}

// Past __syncthreads, which threads that have returned do not hold up. False when all have returned.
bool pass_barrier() {
  const unsigned n = threads_of_block();
  unsigned first = n;
  for (unsigned i = 0; i < n; ++i) {
    const Thread& thread = *threads[i];
    if (thread.state == State::kReturned) continue;
    if (first == n) first = i;
    if (thread.state != State::kWithBlock || !same(thread.place, threads[first]->place)) {
      const auto told = [&](unsigned index) {
        return who(index) +
               (threads[index]->state == State::kWithBlock ? " waits in __syncthreads at "
                                                           : " waits for its warp at ") +
               where(threads[index]->place);
      };
      throw Violation{first == i ? told(i) + ", and not all of the warp come" : told(first) + ", and " + told(i)};
    }
  }
  for (unsigned i = 0; i < n; ++i) {
    if (threads[i]->state == State::kWithBlock) threads[i]->state = State::kReady;
  }
  return first < n;
}

// Not through ASan's eyes: between the variables lie its red zones.
__attribute__((no_sanitize("address", "undefined"))) void poison_static_shared() {
  for (char* p = __start_cuda_shared; p != __stop_cuda_shared; ++p) {
    *const_cast<volatile char*>(p) = reinterpret_cast<const char*>(&kPoison)[reinterpret_cast<uintptr_t>(p) % 4];
  }
}

void run_block(size_t shared_bytes) {
  constexpr size_t kGuard =
      16;  // numbers beyond the end that must stay as they are; ASan finds what lies further, and reads
  const size_t numbers = (shared_bytes + 3) / 4;
#if defined(__SANITIZE_ADDRESS__)
  std::vector<uint32_t>(numbers, kPoison).swap(shared);  // its very size
#else
  shared.assign(numbers + kGuard, kPoison);
#endif
  poison_static_shared();
  auto warps = range((threads_of_block() + kWarp - 1) / kWarp), lanes = range(kWarp);
  for (unsigned i = 0; i < threads_of_block(); ++i) threads[i]->state = State::kReady;
  do {
    shuffle(warps);
    shuffle(lanes);
    for (const unsigned warp : warps) advance(warp, lanes);
  } while (pass_barrier());
  for (size_t i = numbers; i < shared.size(); ++i) {
    if (shared[i] != kPoison) throw Violation{who(0) + " or another one has written beyond its shared memory"};
  }
}

// --- a launch ---

// Of __launch_bounds__, which puts an instruction that does nothing (0x90) for each warp where the kernel begins.
unsigned max_threads(const void* kernel) {
  unsigned warps = 0;
#if defined(__x86_64__)
  const auto* code = static_cast<const unsigned char*>(kernel);
  constexpr unsigned char kEndbr64[] = {0xf3, 0x0f, 0x1e,
                                        0xfa};  // before them, where the compiler protects indirect calls
  if (std::memcmp(code, kEndbr64, sizeof kEndbr64) == 0) code += sizeof kEndbr64;
  while (code[warps] == 0x90) ++warps;
#else
  (void)kernel;
#endif
  return warps ? warps * kWarp : kMaxThreads;
}

cudaError_t broken = cudaSuccess;

cudaError_t fail(cudaError_t code, std::string what) {
  error = std::move(what);
  return code;
}

}  // namespace

void break_context(cudaError_t by) {
  broken = by;
  error = by == cudaSuccess ? "" : "an illegal memory access was encountered";
}

cudaError_t run(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread) {
  const std::lock_guard lock(one_launch);
  if (broken != cudaSuccess) return broken;
  const dim3 grid = config.gridDim, block = config.blockDim;
  const auto refuse = [](std::string what) { return fail(cudaErrorInvalidConfiguration, std::move(what)); };
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > UINT16_MAX || grid.z > UINT16_MAX)
    return refuse("no grid may be so large, or empty");
  const uint64_t count = uint64_t{block.x} * block.y * block.z;
  if (count == 0 || count > kMaxThreads || block.z > 64)
    return refuse("a block has 1 to 1024 threads, not " + std::to_string(count));
  if (count > max_threads(kernel))
    return refuse("a block of " + std::to_string(count) + " threads is larger than the kernel's launch bounds");
  const size_t bytes = config.dynamicSmemBytes + static_cast<size_t>(__stop_cuda_shared - __start_cuda_shared);
  if (bytes > kMaxShared) return refuse(std::to_string(bytes) + " bytes of shared memory are more than 48 KB");

  kernel_thread = &thread, gridDim = grid, blockDim = block;
  while (threads.size() < count) {
    threads.push_back(std::make_unique<Thread>([] {
      (*kernel_thread)();
      running->state = State::kReturned;
    }));
  }
  draw_order();
  auto blocks = range(uint64_t{grid.x} * grid.y * grid.z);
  shuffle(blocks);
  try {
    for (const uint64_t i : blocks) {
      blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                  static_cast<unsigned>(i / grid.x / grid.y)};
      run_block(config.dynamicSmemBytes);
    }
  } catch (const Violation& violation) {
    threads.clear();  // they stand in the middle of the kernel
    return fail(cudaErrorLaunchFailure, violation.what);
  }
  return cudaSuccess;
}

void* dynamic_shared() { return shared.data(); }

void wait_for_block(const Place& place) { wait(State::kWithBlock, place); }

uint64_t exchange(unsigned mask, uint64_t value, unsigned source, const Place& place) {
  Thread& thread = *running;
  thread.mask = mask, thread.value = value, thread.source = source;
  wait(State::kWithWarp, place);
  return thread.value;
}

unsigned lane() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % kWarp; }

}  // namespace emulation

cudaError_t cudaStreamQuery(cudaStream_t) { return emulation::broken; }

const char* cudaGetErrorString(cudaError_t) { return emulation::error.c_str(); }

// Outputs that a kernel leaves out are NaN, as at::empty fills them.
[[maybe_unused]] static const bool poisoned = [] {
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(true);
  return true;
}();
