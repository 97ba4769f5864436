// What cpp/kernels/*.cu use of CUDA, for a compiler of C++: this folder stands first on the include path where the
// kernels are built for the emulator (cmake/emulation.cmake). Every launch runs to its end before it returns.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <source_location>
#include <utility>

#define __host__
#define __device__
#define __global__
// The emulator reads the bound from a kernel's first instructions: it has one that does nothing for each warp.
#define __launch_bounds__(threads, ...) __attribute__((patchable_function_entry((threads) / 32)))
// All static shared memory lies in one section, so that the emulator can fill it for each block.
#define __shared__ static __attribute__((section("cuda_shared"), used))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchFailure = 719
};
using cudaStream_t = struct CUstream_st*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};
const char* cudaGetErrorString(cudaError_t error);  // what the last failed launch did wrong
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t stream);  // what broke the context, if anything did

namespace emulation {

using Place = std::source_location;  // where a kernel waits

cudaError_t run(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread);
void break_context(cudaError_t by);  // as a kernel does that fails after its launch: from now on every call answers
                                     // with it, until cudaSuccess
void* dynamic_shared();
void wait_for_block(const Place& place);
// Waits until every lane of the mask is here with its value; gives the source lane's, or (kVote) a bit for each lane
// whose value is not 0.
constexpr unsigned kVote = ~0u;
uint64_t exchange(unsigned mask, uint64_t value, unsigned source, const Place& place);
unsigned lane();

template <class T>
T shuffle(unsigned mask, T value, unsigned source, const Place& place) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(mask, bits, source, place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulation

template <class... Parameters, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Args&&... args) {
  return [&](Parameters... converted) {
    return emulation::run(*config, reinterpret_cast<const void*>(kernel), [&] { kernel(converted...); });
  }(std::forward<Args>(args)...);
}

inline void __syncthreads(emulation::Place place = emulation::Place::current()) { emulation::wait_for_block(place); }
inline void __syncwarp(unsigned mask = ~0u, emulation::Place place = emulation::Place::current()) {
  emulation::exchange(mask, 0, emulation::lane(), place);
}
inline unsigned __ballot_sync(unsigned mask, bool vote, emulation::Place place = emulation::Place::current()) {
  return static_cast<unsigned>(emulation::exchange(mask, vote, emulation::kVote, place));
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              emulation::Place place = emulation::Place::current()) {
  const unsigned lane = emulation::lane(), w = static_cast<unsigned>(width);
  return emulation::shuffle(mask, value, lane / w * w + static_cast<unsigned>(source) % w, place);
}
// Beyond the own segment of `width` lanes: the own value.
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                   emulation::Place place = emulation::Place::current()) {
  const unsigned lane = emulation::lane(), w = static_cast<unsigned>(width);
  return emulation::shuffle(mask, value, lane % w + by < w ? lane + by : lane, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  emulation::Place place = emulation::Place::current()) {
  const unsigned lane = emulation::lane(), w = static_cast<unsigned>(width),
                 source = lane ^ static_cast<unsigned>(bits);
  return emulation::shuffle(mask, value, source < lane / w * w + w ? source : lane, place);
}

template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}
// The documented result for large divisors: 0, or NaN of an infinite dividend.
inline float __fdividef(float x, float y) {
  return std::abs(y) > 0x1p126f && std::abs(y) < INFINITY ? x * 0.0f : x / y;
}
inline float __expf(float x) { return std::exp(x); }
