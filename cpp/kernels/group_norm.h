// GroupNorm over channels_last images with what precedes and follows it:
//
//   x = (x | beside) + add;  y = (x - mean) / sqrt(var + eps) weight + bias;  y = y (1 + scale) + shift;  y = SiLU(y)
//
// The channels may come from two tensors, one after the other, as torch.cat would place them. `add` is a vector over
// channels, such as a convolution's bias or a time embedding; it changes the moments and nothing else, so that it costs
// no work per pixel.
//
// Reads x twice. First each tile of pixels gives, by channel or by group, its mean and its sum of squared
// deviations, taken about a value of the tile, so that a large mean cancels nothing; these are combined in a fixed
// order, whatever the number of threads or blocks. Then all of it is y = (x - mean) scale + shift by channel: the
// difference first, for where the deviation is small beside the mean.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

struct GroupNormShape {
  int64_t batch, pixels, channels, groups;
  int64_t first;        // channels of x; the remaining ones are those of `beside`
  int64_t sharing;      // this many neighboring images share a row of scale and shift
  int64_t add_sharing;  // the same for `add`
  double eps;
  bool silu;
  Dtype dtype;
};

// How a launch divides an image into tiles: by its shape alone, so that neither card nor batch changes a result. At
// four to eight pixels a thread one image of 64 x 64 x 320 has 86 tiles, enough to occupy a card.
constexpr int kGroupNormThreads = 256;

inline int64_t group_norm_tile(const GroupNormShape& shape) {
  const int64_t pack = 16 / dtype_bytes(shape.dtype), columns = (shape.channels + pack - 1) / pack;
  const int64_t at_once = std::max<int64_t>(1, kGroupNormThreads / columns), pixels = 8 * at_once;
  return (shape.pixels + pixels - 1) / pixels < 64 ? pixels / 2 : pixels;
}

// Floats of scratch memory that a launch needs: mean, scale and shift of each channel, to an even number; mean and
// squared deviations of each tile and group.
inline int64_t group_norm_affine(const GroupNormShape& shape) { return (3 * shape.batch * shape.channels + 1) / 2 * 2; }
inline int64_t group_norm_scratch(const GroupNormShape& shape) {
  const int64_t tile = group_norm_tile(shape), tiles = (shape.pixels + tile - 1) / tile;
  return group_norm_affine(shape) + 2 * shape.batch * tiles * shape.groups;
}

struct GroupNormInputs {
  const void *x, *beside;      // [B, P, first], [B, P, C - first] (null if first = C), both of the dtype
  const float *weight, *bias;  // [C]
  const float *scale, *shift;  // [B / sharing, C], or both null
  const float* add;            // [B / add_sharing, C], or null
};

// out [B, P, C] of the dtype.
void launch_group_norm(void* out, GroupNormInputs inputs, float* scratch, GroupNormShape shape, void* cuda_stream);
void group_norm_cpu(void* out, GroupNormInputs inputs, float* scratch, GroupNormShape shape,
                    void* cuda_stream = nullptr);

}  // namespace diffmine
