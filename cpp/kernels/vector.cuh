// Sixteen bytes at a time: packs of a layer's values, converted to floats.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void from_float(float x, float& to) { to = x; }
__device__ inline void from_float(float x, __half& to) { to = __float2half_rn(x); }
__device__ inline void from_float(float x, __nv_bfloat16& to) { to = __float2bfloat16_rn(x); }

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T at[kCount];
};

template <int kCount, class T>
__device__ inline void load(const T* from, float (&to)[kCount]) {
  const auto pack = *reinterpret_cast<const Pack<T, kCount>*>(from);
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = to_float(pack.at[i]);
}

template <int kCount, class T>
__device__ inline void store(T* to, const float (&from)[kCount]) {
  Pack<T, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) from_float(from[i], pack.at[i]);
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

// Floats [kCount], which are always together and never aligned worse than the pack they belong to.
template <int kCount>
__device__ inline void load_floats(const float* from, float (&to)[kCount]) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = from[i];
  }
}

// The sum over a warp, in every lane, in a fixed order. All 32 lanes call it.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}

inline bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

template <class T>
constexpr int kPack = 16 / sizeof(T);

template <int kCount>
struct Width {
  static constexpr int value = kCount;
};

// f(a value of the dtype)
template <class F>
void by_dtype(Dtype dtype, F f) {
  switch (dtype) {
    case Dtype::kFloat32: return f(float{});
    case Dtype::kFloat16: return f(__half{});
    case Dtype::kBFloat16: return f(__nv_bfloat16{});
  }
}

// f(a value of the dtype, the Width of its packs): 16 bytes if they divide the rows and the addresses are aligned,
// otherwise one value.
template <class F, class... Addresses>
void by_pack(Dtype dtype, int64_t row, F f, const Addresses*... addresses) {
  by_dtype(dtype, [&](auto number) {
    constexpr int kWhole = kPack<decltype(number)>;
    if (row % kWhole == 0 && (aligned(addresses) && ...)) return f(number, Width<kWhole>{});
    f(number, Width<1>{});
  });
}

}  // namespace diffmine
