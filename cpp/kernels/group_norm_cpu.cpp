// CPU implementation of group_norm.cu.
#include "kernels/group_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/rows.h"

namespace diffmine {
namespace {

// Numbers a tile has at most: it stays in a core's cache, joining tiles is little work, and there are enough of them
// for many threads.
constexpr int64_t kTile = 32768;
constexpr int64_t kTileRows =
    512;  // longer sums in fp32 drift: halves, whose digits are few, round to the same side again and again

// One image: the sums of its tiles, then mean, scale and shift by channel, then y.
struct Image {
  const GroupNormShape& shape;
  const RowKernels& kernels;
  const char *x, *beside;
  char* out;
  int64_t tile_rows, tiles;
  std::vector<float> sums;    // [tiles, 3, C]: pivot, sum, square
  std::vector<float> affine;  // [3, C]: mean, scale, shift

  Image(const GroupNormShape& shape_, int64_t image, const GroupNormInputs& inputs, void* out_)
      : shape(shape_), kernels(row_kernels()) {
    const int64_t pixels = image * shape.pixels;
    x = static_cast<const char*>(inputs.x) + bytes(pixels, shape.first);
    beside = rest() ? static_cast<const char*>(inputs.beside) + bytes(pixels, rest()) : nullptr;
    out = static_cast<char*>(out_) + bytes(pixels, shape.channels);
    tile_rows = std::clamp<int64_t>(kTile / shape.channels, 1, std::min(shape.pixels, kTileRows));
    tiles = (shape.pixels + tile_rows - 1) / tile_rows;
    sums.resize(tiles * 3 * shape.channels);
    affine.resize(3 * shape.channels);
  }

  int64_t rows_of(int64_t tile) const { return std::min(tile_rows, shape.pixels - tile * tile_rows); }
  int64_t rest() const { return shape.channels - shape.first; }
  int64_t bytes(int64_t pixels, int64_t channels) const { return pixels * channels * dtype_bytes(shape.dtype); }

  void sum(int64_t tile) {
    const int64_t pixels = tile * tile_rows, channels = shape.channels;
    float* to = sums.data() + tile * 3 * channels;
    kernels.sums(x + bytes(pixels, shape.first), shape.dtype, rows_of(tile), shape.first, to, to + channels,
                 to + 2 * channels);
    if (!rest()) return;
    to += shape.first;
    kernels.sums(beside + bytes(pixels, rest()), shape.dtype, rows_of(tile), rest(), to, to + channels,
                 to + 2 * channels);
  }

  void combine(const float* weight, const float* bias, const float* scale, const float* shift, const float* add) {
    const auto added = [&](int64_t c) { return add ? static_cast<double>(add[c]) : 0.0; };
    const int64_t channels = shape.channels, size = channels / shape.groups;
    for (int64_t group = 0; group < shape.groups; ++group) {
      double mean = 0, m2 = 0;
      const auto each = [&](auto f) {  // f(count, pivot, sum, square)
        for (int64_t tile = 0; tile < tiles; ++tile) {
          const double n = static_cast<double>(rows_of(tile));
          const float* from = sums.data() + tile * 3 * channels;
          for (int64_t c = group * size; c < (group + 1) * size; ++c)
            f(n, from[c] + added(c), from[channels + c], from[2 * channels + c]);
        }
      };
      const double count = static_cast<double>(shape.pixels) * static_cast<double>(size);
      each([&](double n, double pivot, double sum, double) { mean += n * pivot + sum; });
      mean /= count;
      each([&](double n, double pivot, double sum, double square) {
        m2 += square + (pivot - mean) * (2 * sum + n * (pivot - mean));
      });
      const double r = 1 / std::sqrt(std::max(m2 / count, 0.0) + shape.eps);
      for (int64_t c = group * size; c < (group + 1) * size; ++c) {
        const double center = mean - added(c);
        const float near = static_cast<float>(center);  // what it leaves of the mean is in the shift
        double a = r * weight[c], b = bias[c] + (near - center) * a;
        if (scale) a *= 1.0 + scale[c], b = b * (1.0 + scale[c]) + shift[c];
        affine[c] = near, affine[channels + c] = static_cast<float>(a),
        affine[2 * channels + c] = static_cast<float>(b);
      }
    }
  }

  void write(int64_t tile) const {
    const auto part = [&](const char* from, int64_t first, int64_t count) {
      const int64_t pixels = tile * tile_rows;
      const float* const a = affine.data() + first;
      kernels.affine(out + bytes(pixels, shape.channels) + bytes(1, first), shape.channels, from + bytes(pixels, count),
                     shape.dtype, rows_of(tile), count, a, a + shape.channels, a + 2 * shape.channels, shape.silu);
    };
    part(x, 0, shape.first);
    if (rest()) part(beside, shape.first, rest());
  }
};

}  // namespace

void group_norm_cpu(void* out, GroupNormInputs inputs, float*, GroupNormShape shape, void*) {
  const auto run = [&](int64_t begin, int64_t end, bool by_tile) {
    for (int64_t b = begin; b < end; ++b) {
      Image image(shape, b, inputs, out);
      const auto row = [&](const float* rows, int64_t sharing) {
        return rows ? rows + b / sharing * shape.channels : nullptr;
      };
      const auto each_tile = [&](auto f) {
        if (by_tile) {
          at::parallel_for(0, image.tiles, 1, [&](int64_t first, int64_t last) {
            for (int64_t s = first; s < last; ++s) f(s);
          });
        } else {
          for (int64_t s = 0; s < image.tiles; ++s) f(s);
        }
      };
      each_tile([&](int64_t tile) { image.sum(tile); });
      image.combine(inputs.weight, inputs.bias, row(inputs.scale, shape.sharing), row(inputs.shift, shape.sharing),
                    row(inputs.add, shape.add_sharing));
      each_tile([&](int64_t tile) { image.write(tile); });
    }
  };
  if (shape.pixels * shape.channels == 0) return;
  if (shape.batch % at::get_num_threads() ==
      0) {  // whole images each: what was read is still near when it is read again
    at::parallel_for(0, shape.batch, 1, [&](int64_t begin, int64_t end) { run(begin, end, false); });
  } else {
    run(0, shape.batch, true);
  }
}

}  // namespace diffmine
