// GroupNorm in three launches, without atomics: moments of each tile (reads x), moments of each group combined from its
// tiles, y (reads x, writes y).
//
// A tile is a run of neighboring pixels of one image; one block works on one tile. Its threads form `columns` x `rows`:
// a thread's column is a pack of channels, its row every rows-th pixel of the tile. A warp's 32 threads are its lanes,
// here as in CUDA.
#include <numeric>

#include "kernels/group_norm.h"
#include "kernels/launch.cuh"
#include "kernels/vector.cuh"

namespace diffmine {
namespace {

constexpr int kMaxRows = 128;  // of threads: the moments of few channels then fit into shared memory

struct Tiling {
  int64_t pixels, tile, tiles;  // of an image
  int channels, first, groups;  // channels first ... channels - 1 are those of `beside`
  int columns, rows;
};

// Where a thread works.
struct Place {
  int64_t image, tile, first;  // first: the tile's first pixel, counted through the batch
  int pixels;
  int column, row;
};

__device__ Place place_of_thread(const Tiling& tiling) {
  const int64_t image = blockIdx.x / tiling.tiles, tile = blockIdx.x % tiling.tiles, begin = tile * tiling.tile;
  return {image,
          tile,
          image * tiling.pixels + begin,
          static_cast<int>(min(tiling.tile, tiling.pixels - begin)),
          static_cast<int>(threadIdx.x) % tiling.columns,
          static_cast<int>(threadIdx.x) / tiling.columns};
}

// Where a column's channels lie: at the tile's first pixel, and how far apart pixels are.
template <class T>
struct Source {
  const T* from;
  int stride;
};

template <class T>
__device__ Source<T> source_of(const T* x, const T* beside, const Tiling& tiling, const Place& place, int channel) {
  const int rest = tiling.channels - tiling.first;
  if (channel < tiling.first) return {x + place.first * tiling.first + channel, tiling.first};
  return {beside + place.first * rest + channel - tiling.first, rest};
}

// mean = base + rest: a sum of floats and what rounding it left.
struct Combined {
  float base, rest, m2;
};

// Mean and sum of squared deviations of n parts of (mean, m2), with weights, summed over a warp. weight(i) and part(i)
// for i < n.
template <class Weight, class Part>
__device__ Combined combine(int n, float total, Weight weight, Part part) {
  const int lane = threadIdx.x % 32;
  const float base = part(0).x;  // sums are of differences from it
  float rest = 0, m2 = 0;
  for (int i = lane; i < n; i += 32) rest += weight(i) * (part(i).x - base);
  rest = warp_sum(rest) / total;
  for (int i = lane; i < n; i += 32) {
    const float2 moments = part(i);
    const float delta = moments.x - base - rest;
    m2 += moments.y + weight(i) * delta * delta;
  }
  return {base, rest, warp_sum(m2)};
}

constexpr int kInFlight = 4;  // loads that a thread has under way together

// Where a block keeps the moments of one channel and row in shared memory: in the order in which packs are taken apart,
// padded, so that neither the writes of neighboring columns nor the reads of neighboring channels conflict in a bank.
template <int kCount>
__device__ int shared_index(const Tiling& tiling, int row, int channel) {
  return row * (tiling.channels + kCount) + channel % kCount * (tiling.channels / kCount + 1) + channel / kCount;
}

// partial [B, tiles, G] of (mean, m2).
template <class T, int kCount>
__global__ void __launch_bounds__(kGroupNormThreads, 3)
    group_norm_moments(float2* __restrict__ partial, const T* __restrict__ x, const T* __restrict__ beside,
                       const float* __restrict__ add, int64_t add_sharing, Tiling tiling) {
  auto* moments = dynamic_shared<float2>();  // [rows, C + kCount], by shared_index
  const Place place = place_of_thread(tiling);
  if (add) add += place.image / add_sharing * tiling.channels;
  const auto pixels_of = [&](int row) {
    return (place.pixels - row + tiling.rows - 1) / tiling.rows;
  };  // 0 for a row beyond the tile
  if (place.row < tiling.rows) {
    const int n = pixels_of(place.row);
    for (int c = place.column * kCount; c < tiling.channels; c += tiling.columns * kCount) {
      const auto [from, stride] = source_of(x, beside, tiling, place, c);
      float pivot[kCount] = {}, sum[kCount] = {}, square[kCount] = {};
      for (int pixel = place.row; pixel < place.pixels; pixel += kInFlight * tiling.rows) {
        Pack<T, kCount> packs[kInFlight];
#pragma unroll
        for (int k = 0; k < kInFlight; ++k) {
          const int one = pixel + k * tiling.rows;
          if (one < place.pixels)
            packs[k] = *reinterpret_cast<const Pack<T, kCount>*>(from + static_cast<int64_t>(one) * stride);
        }
        if (pixel == place.row) {
#pragma unroll
          for (int i = 0; i < kCount; ++i) pivot[i] = to_float(packs[0].at[i]);
        }
#pragma unroll
        for (int k = 0; k < kInFlight; ++k) {
          if (pixel + k * tiling.rows >= place.pixels) break;
#pragma unroll
          for (int i = 0; i < kCount; ++i) {
            const float delta = to_float(packs[k].at[i]) - pivot[i];
            sum[i] += delta;
            square[i] += delta * delta;
          }
        }
      }
      const float inverse = n > 0 ? 1.0f / static_cast<float>(n) : 0.0f;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float mean = sum[i] * inverse;
        moments[shared_index<kCount>(tiling, place.row, c + i)] = {(add ? pivot[i] + add[c + i] : pivot[i]) + mean,
                                                                   square[i] - sum[i] * mean};
      }
    }
  }
  __syncthreads();
  const int size = tiling.channels / tiling.groups;
  for (int group = threadIdx.x / 32; group < tiling.groups; group += blockDim.x / 32) {
    const Combined all = combine(
        tiling.rows * size, static_cast<float>(place.pixels) * static_cast<float>(size),
        [&](int i) { return static_cast<float>(pixels_of(i / size)); },
        [&](int i) { return moments[shared_index<kCount>(tiling, i / size, group * size + i % size)]; });
    if (threadIdx.x % 32 == 0)
      partial[blockIdx.x * static_cast<int64_t>(tiling.groups) + group] = {all.base + all.rest, all.m2};
  }
}

// One warp an image and group: affine [B, 3, C] of mean, scale and shift.
__global__ void group_norm_combine(float* __restrict__ affine, const float2* __restrict__ partial,
                                   const float* __restrict__ weight, const float* __restrict__ bias,
                                   const float* __restrict__ scale, const float* __restrict__ shift,
                                   const float* __restrict__ add, Tiling tiling, int64_t pairs, int64_t sharing,
                                   int64_t add_sharing, float eps) {
  const int64_t pair = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (pair >= pairs) return;  // the whole warp
  const int64_t image = pair / tiling.groups;
  const int group = static_cast<int>(pair % tiling.groups), size = tiling.channels / tiling.groups;
  const float2* parts = partial + image * tiling.tiles * tiling.groups + group;
  const float total = static_cast<float>(tiling.pixels) * static_cast<float>(size);
  const Combined all = combine(
      static_cast<int>(tiling.tiles), total,
      [&](int i) {
        return static_cast<float>(min(tiling.tile, tiling.pixels - i * tiling.tile)) * static_cast<float>(size);
      },
      [&](int i) { return parts[i * static_cast<int64_t>(tiling.groups)]; });
  const float r = 1.0f / sqrtf(fmaxf(all.m2 / total, 0.0f) + eps);
  const float mean = all.base + all.rest,
              left = mean - all.base - all.rest;  // rounding left it out of the mean: it goes into the shift
  if (add) add += image / add_sharing * tiling.channels;
  float* to = affine + image * 3 * tiling.channels;
  for (int c = group * size + static_cast<int>(threadIdx.x % 32); c < (group + 1) * size; c += 32) {
    const float added = add ? add[c] : 0.0f, center = mean - added;
    float a = r * weight[c], b = fmaf(left + ((center - mean) + added), a, bias[c]);
    if (scale) {
      const int64_t from = image / sharing * tiling.channels + c;
      const float factor = 1.0f + scale[from];
      a *= factor, b = b * factor + shift[from];
    }
    to[c] = center, to[tiling.channels + c] = a, to[2 * tiling.channels + c] = b;
  }
}

// The fast exponential, wrong by some 1e-6, is exact enough for halves. The fast division gives 0 where SiLU is below
// 1e-36.
template <class T>
__device__ float silu(float x) {
  return __fdividef(x, 1.0f + (sizeof(T) == 4 ? expf(-x) : __expf(-x)));
}

template <class T, int kCount>
__global__ void __launch_bounds__(kGroupNormThreads, 3)
    group_norm_apply(T* __restrict__ out, const T* __restrict__ x, const T* __restrict__ beside,
                     const float* __restrict__ affine, Tiling tiling, bool with_silu) {
  const Place place = place_of_thread(tiling);
  if (place.row >= tiling.rows) return;
  const int64_t offset = place.first * tiling.channels;
  for (int c = place.column * kCount; c < tiling.channels; c += tiling.columns * kCount) {
    const auto [from, stride] = source_of(x, beside, tiling, place, c);
    float mean[kCount], scale[kCount], shift[kCount];
    load_floats(affine + place.image * 3 * tiling.channels + c, mean);
    load_floats(affine + (place.image * 3 + 1) * tiling.channels + c, scale);
    load_floats(affine + (place.image * 3 + 2) * tiling.channels + c, shift);
#pragma unroll 4
    for (int pixel = place.row; pixel < place.pixels; pixel += tiling.rows) {
      float value[kCount];
      load(from + static_cast<int64_t>(pixel) * stride, value);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        value[i] = fmaf(value[i] - mean[i], scale[i], shift[i]);
        if (with_silu) value[i] = silu<T>(value[i]);
      }
      store(out + offset + static_cast<int64_t>(pixel) * tiling.channels + c, value);
    }
  }
}

}  // namespace

void launch_group_norm(void* out, GroupNormInputs inputs, float* scratch, GroupNormShape shape, void* cuda_stream) {
  if (shape.batch * shape.pixels * shape.channels == 0) return;
  const int64_t tile = group_norm_tile(shape), tiles = (shape.pixels + tile - 1) / tile;
  float* affine = scratch;
  auto* partial = reinterpret_cast<float2*>(scratch + group_norm_affine(shape));
  by_pack(
      shape.dtype, std::gcd(shape.channels, shape.first),
      [&](auto number, auto width) {
        using T = decltype(number);
        constexpr int kCount = decltype(width)::value;
        const auto *x = static_cast<const T*>(inputs.x), *beside = static_cast<const T*>(inputs.beside);
        const int channels = static_cast<int>(shape.channels), groups = static_cast<int>(shape.groups);
        const int packs = channels / kCount;
        const int turns = (packs + kGroupNormThreads - 1) / kGroupNormThreads, columns = (packs + turns - 1) / turns;
        const int rows = std::min(kGroupNormThreads / columns, kMaxRows);
        const Tiling tiling{shape.pixels, tile, tiles, channels, static_cast<int>(shape.first), groups, columns, rows};
        const int64_t pairs = shape.batch * groups, all_tiles = shape.batch * tiles;
        const size_t shared = sizeof(float2) * rows * (channels + kCount);
        check_size(all_tiles <= INT32_MAX && shared <= kMaxShared, "group_norm");
        const auto blocks = static_cast<unsigned>(all_tiles),
                   threads = static_cast<unsigned>((columns * rows + 31) / 32 * 32);
        launch("group_norm_moments", group_norm_moments<T, kCount>, {blocks, threads, shared}, cuda_stream, partial, x,
               beside, inputs.add, shape.add_sharing, tiling);
        launch("group_norm_combine", group_norm_combine, {blocks_of(pairs * 32)}, cuda_stream, affine, partial,
               inputs.weight, inputs.bias, inputs.scale, inputs.shift, inputs.add, tiling, pairs, shape.sharing,
               shape.add_sharing, static_cast<float>(shape.eps));
        launch("group_norm_apply", group_norm_apply<T, kCount>, {blocks, threads}, cuda_stream, static_cast<T*>(out), x,
               beside, affine, tiling, shape.silu);
      },
      inputs.x, inputs.beside, out, affine);
}

}  // namespace diffmine
