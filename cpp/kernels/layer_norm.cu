// LayerNorm: a warp holds its row in registers, so that x is read once; rows too long or not made of packs are read
// three times by a block.
#include "kernels/launch.cuh"
#include "kernels/layer_norm.h"
#include "kernels/vector.cuh"

namespace diffmine {
namespace {

constexpr int kRows = kThreads / 32;  // of a block

// Rows of at most 32 kPacks packs.
template <class T, int kPacks>
__global__ void __launch_bounds__(kThreads, kPacks <= 5 ? 3 : 2)
    layer_norm_warp(T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ weight,
                    const float* __restrict__ bias, const float* __restrict__ add, int64_t rows, int channels,
                    float eps) {
  constexpr int kCount = kPack<T>;
  const int64_t row = blockIdx.x * static_cast<int64_t>(kRows) + threadIdx.x / 32;
  if (row >= rows) return;  // the whole warp
  const int first = static_cast<int>(threadIdx.x % 32) * kCount;
  float value[kPacks][kCount], sum = 0, square = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = first + p * 32 * kCount;
    if (c < channels) {
      load(x + row * channels + c, value[p]);
      if (add) {
        float a[kCount];
        load_floats(add + c, a);
#pragma unroll
        for (int i = 0; i < kCount; ++i) value[p][i] += a[i];
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum += value[p][i];
    }
  }
  const float mean = warp_sum(sum) / static_cast<float>(channels);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    if (first + p * 32 * kCount < channels) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        value[p][i] -= mean;
        square += value[p][i] * value[p][i];
      }
    }
  }
  const float r = 1.0f / sqrtf(warp_sum(square) / static_cast<float>(channels) + eps);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = first + p * 32 * kCount;
    if (c < channels) {
      float w[kCount], b[kCount];
      load_floats(weight + c, w);
      load_floats(bias + c, b);
#pragma unroll
      for (int i = 0; i < kCount; ++i) value[p][i] = fmaf(value[p][i] * r, w[i], b[i]);
      store(out + row * channels + c, value[p]);
    }
  }
}

// The sum over a block, in every thread; `parts` is shared memory [kRows].
__device__ float block_sum(float x, float* parts) {
  const float part = warp_sum(x);
  __syncthreads();  // the parts of the sum before have been read
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = part;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < kRows; ++i) sum += parts[i];
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_block(T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ weight,
                     const float* __restrict__ bias, const float* __restrict__ add, int64_t channels, float eps) {
  __shared__ float parts[kRows];
  x += blockIdx.x * channels, out += blockIdx.x * channels;
  const auto value = [&](int64_t c) { return to_float(x[c]) + (add ? add[c] : 0.0f); };
  float sum = 0, square = 0;
  for (int64_t c = threadIdx.x; c < channels; c += kThreads) sum += value(c);
  const float mean = block_sum(sum, parts) / static_cast<float>(channels);
  for (int64_t c = threadIdx.x; c < channels; c += kThreads) {
    const float delta = value(c) - mean;
    square += delta * delta;
  }
  const float r = 1.0f / sqrtf(block_sum(square, parts) / static_cast<float>(channels) + eps);
  for (int64_t c = threadIdx.x; c < channels; c += kThreads)
    from_float(fmaf((value(c) - mean) * r, weight[c], bias[c]), out[c]);
}

}  // namespace

void launch_layer_norm(void* out, const void* x, Dtype dtype, const float* weight, const float* bias, const float* add,
                       int64_t rows, int64_t channels, double eps, void* cuda_stream) {
  if (rows * channels == 0) return;
  by_pack(
      dtype, channels,
      [&](auto number, auto width) {
        using T = decltype(number);
        auto* to = static_cast<T*>(out);
        const auto* from = static_cast<const T*>(x);
        const auto by_warps = [&](auto packs) {
          const int64_t blocks = (rows + kRows - 1) / kRows;
          check_size(blocks <= INT32_MAX, "layer_norm");
          launch("layer_norm", layer_norm_warp<T, decltype(packs)::value>, {static_cast<unsigned>(blocks)}, cuda_stream,
                 to, from, weight, bias, add, rows, static_cast<int>(channels), static_cast<float>(eps));
        };
        const int64_t packs = (channels / kPack<T> + 31) / 32;  // of a lane
        if (decltype(width)::value == 1 || packs > 12) {
          check_size(rows <= INT32_MAX, "layer_norm");
          launch("layer_norm", layer_norm_block<T>, {static_cast<unsigned>(rows)}, cuda_stream, to, from, weight, bias,
                 add, channels, static_cast<float>(eps));
        } else if (packs <= 2) {
          by_warps(Width<2>{});
        } else if (packs <= 3) {
          by_warps(Width<3>{});
        } else if (packs <= 5) {
          by_warps(Width<5>{});
        } else {
          by_warps(Width<12>{});
        }
      },
      x, out, weight, bias, add);
}

}  // namespace diffmine
