// GroupNorm in three launches, without atomics: moments of slabs (a read of x), their join, y (a read and a write).
// Threads of a block are `columns` x `lanes`: a column is a pack of channels, a lane every lanes-th pixel of the slab.
#include <numeric>

#include "kernels/group_norm.h"
#include "kernels/launch.cuh"
#include "kernels/vector.cuh"

namespace diffmine {
namespace {

constexpr int kMostLanes = 128;  // few channels' moments fit into shared memory

struct Cut {
  int64_t pixels, slab, slabs;  // of an image
  int channels, first, groups;  // channels first ... channels - 1 are those of `beside`
  int columns, lanes;
};

struct Block {
  int64_t picture, slab, first;  // first: the slab's first pixel, counted through the batch
  int pixels;
  int column, lane;
};

__device__ Block block_of(const Cut& cut) {
  const int64_t picture = blockIdx.x / cut.slabs, slab = blockIdx.x % cut.slabs, begin = slab * cut.slab;
  return {picture, slab, picture * cut.pixels + begin, static_cast<int>(min(cut.slab, cut.pixels - begin)),
          static_cast<int>(threadIdx.x) % cut.columns, static_cast<int>(threadIdx.x) / cut.columns};
}

// Where a column's channels lie: the block's first pixel, and the distance of pixels.
template <class T>
struct Source {
  const T* from;
  int row;
};

template <class T>
__device__ Source<T> source_of(const T* x, const T* beside, const Cut& cut, const Block& block, int channel) {
  const int rest = cut.channels - cut.first;
  if (channel < cut.first) return {x + block.first * cut.first + channel, cut.first};
  return {beside + block.first * rest + channel - cut.first, rest};
}

// mean = base + rest: a sum of floats and what rounding it left.
struct Joined {
  float base, rest, m2;
};

// Mean and sum of squared deviations of n parts of (mean, m2), with weights, summed over a warp. weight(i) and part(i) for i < n.
template <class Weight, class Part>
__device__ Joined join(int n, float total, Weight weight, Part part) {
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

constexpr int kAtOnce = 4;  // loads of a thread that are under way together

// Where a block keeps the moments of one channel and lane: in the order in which packs are taken apart, padded, so that neither the writes of
// columns beside each other nor the reads of channels beside each other meet in a bank.
template <int kCount>
__device__ int place_of(const Cut& cut, int lane, int channel) {
  return lane * (cut.channels + kCount) + channel % kCount * (cut.channels / kCount + 1) + channel / kCount;
}

// partial [B, slabs, G] of (mean, m2).
template <class T, int kCount>
__global__ void __launch_bounds__(kGroupNormThreads, 3) group_norm_moments(float2* __restrict__ partial, const T* __restrict__ x, const T* __restrict__ beside,
                                                                        const float* __restrict__ add, int64_t add_sharing, Cut cut) {
  auto* moments = dynamic_shared<float2>();  // [lanes, C + kCount], by place_of
  const Block block = block_of(cut);
  if (add) add += block.picture / add_sharing * cut.channels;
  const auto pixels_of = [&](int lane) { return (block.pixels - lane + cut.lanes - 1) / cut.lanes; };  // 0 for a lane beyond the slab
  if (block.lane < cut.lanes) {
    const int n = pixels_of(block.lane);
    for (int c = block.column * kCount; c < cut.channels; c += cut.columns * kCount) {
      const auto [from, row] = source_of(x, beside, cut, block, c);
      float pivot[kCount] = {}, sum[kCount] = {}, square[kCount] = {};
      for (int pixel = block.lane; pixel < block.pixels; pixel += kAtOnce * cut.lanes) {
        Pack<T, kCount> packs[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          const int one = pixel + k * cut.lanes;
          if (one < block.pixels) packs[k] = *reinterpret_cast<const Pack<T, kCount>*>(from + static_cast<int64_t>(one) * row);
        }
        if (pixel == block.lane) {
#pragma unroll
          for (int i = 0; i < kCount; ++i) pivot[i] = to_float(packs[0].at[i]);
        }
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          if (pixel + k * cut.lanes >= block.pixels) break;
#pragma unroll
          for (int i = 0; i < kCount; ++i) {
            const float delta = to_float(packs[k].at[i]) - pivot[i];
            sum[i] += delta;
            square[i] += delta * delta;
          }
        }
      }
      const float share = n > 0 ? 1.0f / static_cast<float>(n) : 0.0f;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float mean = sum[i] * share;
        moments[place_of<kCount>(cut, block.lane, c + i)] = {(add ? pivot[i] + add[c + i] : pivot[i]) + mean, square[i] - sum[i] * mean};
      }
    }
  }
  __syncthreads();
  const int size = cut.channels / cut.groups;
  for (int group = threadIdx.x / 32; group < cut.groups; group += blockDim.x / 32) {
    const Joined all = join(
        cut.lanes * size, static_cast<float>(block.pixels) * static_cast<float>(size),
        [&](int i) { return static_cast<float>(pixels_of(i / size)); },
        [&](int i) { return moments[place_of<kCount>(cut, i / size, group * size + i % size)]; });
    if (threadIdx.x % 32 == 0) partial[blockIdx.x * static_cast<int64_t>(cut.groups) + group] = {all.base + all.rest, all.m2};
  }
}

// One warp a picture and group: affine [B, 3, C] of mean, scale and shift.
__global__ void group_norm_join(float* __restrict__ affine, const float2* __restrict__ partial, const float* __restrict__ weight,
                                const float* __restrict__ bias, const float* __restrict__ scale, const float* __restrict__ shift,
                                const float* __restrict__ add, Cut cut, int64_t pairs, int64_t sharing, int64_t add_sharing, float eps) {
  const int64_t pair = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (pair >= pairs) return;  // the whole warp
  const int64_t picture = pair / cut.groups;
  const int group = static_cast<int>(pair % cut.groups), size = cut.channels / cut.groups;
  const float2* parts = partial + picture * cut.slabs * cut.groups + group;
  const float total = static_cast<float>(cut.pixels) * static_cast<float>(size);
  const Joined all = join(
      static_cast<int>(cut.slabs), total,
      [&](int i) { return static_cast<float>(min(cut.slab, cut.pixels - i * cut.slab)) * static_cast<float>(size); },
      [&](int i) { return parts[i * static_cast<int64_t>(cut.groups)]; });
  const float r = 1.0f / sqrtf(fmaxf(all.m2 / total, 0.0f) + eps);
  const float mean = all.base + all.rest, left = mean - all.base - all.rest;  // rounding left it out of the mean: it goes into the shift
  if (add) add += picture / add_sharing * cut.channels;
  float* to = affine + picture * 3 * cut.channels;
  for (int c = group * size + static_cast<int>(threadIdx.x % 32); c < (group + 1) * size; c += 32) {
    const float added = add ? add[c] : 0.0f, center = mean - added;
    float a = r * weight[c], b = fmaf(left + ((center - mean) + added), a, bias[c]);
    if (scale) {
      const int64_t from = picture / sharing * cut.channels + c;
      const float factor = 1.0f + scale[from];
      a *= factor, b = b * factor + shift[from];
    }
    to[c] = center, to[cut.channels + c] = a, to[2 * cut.channels + c] = b;
  }
}

// The fast exponential, wrong by some 1e-6, is exact enough for halves. The fast division gives 0 where SiLU is below 1e-36.
template <class T>
__device__ float silu(float x) {
  return __fdividef(x, 1.0f + (sizeof(T) == 4 ? expf(-x) : __expf(-x)));
}

template <class T, int kCount>
__global__ void __launch_bounds__(kGroupNormThreads, 3) group_norm_apply(T* __restrict__ out, const T* __restrict__ x, const T* __restrict__ beside,
                                                                      const float* __restrict__ affine, Cut cut, bool with_silu) {
  const Block block = block_of(cut);
  if (block.lane >= cut.lanes) return;
  const int64_t offset = block.first * cut.channels;
  for (int c = block.column * kCount; c < cut.channels; c += cut.columns * kCount) {
    const auto [from, row] = source_of(x, beside, cut, block, c);
    float mean[kCount], scale[kCount], shift[kCount];
    load_floats(affine + block.picture * 3 * cut.channels + c, mean);
    load_floats(affine + (block.picture * 3 + 1) * cut.channels + c, scale);
    load_floats(affine + (block.picture * 3 + 2) * cut.channels + c, shift);
#pragma unroll 4
    for (int pixel = block.lane; pixel < block.pixels; pixel += cut.lanes) {
      float value[kCount];
      load(from + static_cast<int64_t>(pixel) * row, value);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        value[i] = fmaf(value[i] - mean[i], scale[i], shift[i]);
        if (with_silu) value[i] = silu<T>(value[i]);
      }
      store(out + offset + static_cast<int64_t>(pixel) * cut.channels + c, value);
    }
  }
}

}  // namespace

void launch_group_norm(void* out, GroupNormInputs inputs, float* scratch, GroupNormShape shape, void* cuda_stream) {
  if (shape.batch * shape.pixels * shape.channels == 0) return;
  const int64_t slab = group_norm_slab(shape), slabs = (shape.pixels + slab - 1) / slab;
  float* affine = scratch;
  auto* partial = reinterpret_cast<float2*>(scratch + group_norm_affine(shape));
  by_pack(shape.element, std::gcd(shape.channels, shape.first), [&](auto number, auto width) {
    using T = decltype(number);
    constexpr int kCount = decltype(width)::value;
    const auto *x = static_cast<const T*>(inputs.x), *beside = static_cast<const T*>(inputs.beside);
    const int channels = static_cast<int>(shape.channels), groups = static_cast<int>(shape.groups);
    const int packs = channels / kCount;
    const int turns = (packs + kGroupNormThreads - 1) / kGroupNormThreads, columns = (packs + turns - 1) / turns;
    const int lanes = std::min(kGroupNormThreads / columns, kMostLanes);
    const Cut cut{shape.pixels, slab, slabs, channels, static_cast<int>(shape.first), groups, columns, lanes};
    const int64_t pairs = shape.batch * groups, all_slabs = shape.batch * slabs;
    const size_t shared = sizeof(float2) * lanes * (channels + kCount);
    check_size(all_slabs <= INT32_MAX && shared <= kMostShared, "group_norm");
    const auto blocks = static_cast<unsigned>(all_slabs), threads = static_cast<unsigned>((columns * lanes + 31) / 32 * 32);
    launch("group_norm_moments", group_norm_moments<T, kCount>, {blocks, threads, shared}, cuda_stream, partial, x, beside, inputs.add,
           shape.add_sharing, cut);
    launch("group_norm_join", group_norm_join, {blocks_of(pairs * 32)}, cuda_stream, affine, partial, inputs.weight, inputs.bias, inputs.scale,
           inputs.shift, inputs.add, cut, pairs, shape.sharing, shape.add_sharing, static_cast<float>(shape.eps));
    launch("group_norm_apply", group_norm_apply<T, kCount>, {blocks, threads}, cuda_stream, static_cast<T*>(out), x, beside, affine, cut, shape.silu);
  }, inputs.x, inputs.beside, out, affine);
}

}  // namespace diffmine
