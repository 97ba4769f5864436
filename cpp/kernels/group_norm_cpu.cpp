// CPU twin of group_norm.cu.
#include "kernels/group_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/rows.h"

namespace diffmine {
namespace {

// Numbers a slab has at most: it stays in a core's cache, joining slabs is little work, and there are enough of them for many threads.
constexpr int64_t kSlab = 32768;
constexpr int64_t kSlabRows = 512;  // longer sums in fp32 drift: halves, whose digits are few, round to the same side again and again

// One picture: the sums of its slabs, then mean, scale and shift by channel, then y.
struct Picture {
  const GroupNormShape& shape;
  const RowKernels& kernels;
  const char *x, *beside;
  char* out;
  int64_t slab_rows, slabs;
  std::vector<float> sums;    // [slabs, 3, C]: pivot, sum, square
  std::vector<float> affine;  // [3, C]: mean, scale, shift

  Picture(const GroupNormShape& shape_, int64_t picture, const GroupNormInputs& inputs, void* out_) : shape(shape_), kernels(row_kernels()) {
    const int64_t pixels = picture * shape.pixels;
    x = static_cast<const char*>(inputs.x) + bytes(pixels, shape.first);
    beside = rest() ? static_cast<const char*>(inputs.beside) + bytes(pixels, rest()) : nullptr;
    out = static_cast<char*>(out_) + bytes(pixels, shape.channels);
    slab_rows = std::clamp<int64_t>(kSlab / shape.channels, 1, std::min(shape.pixels, kSlabRows));
    slabs = (shape.pixels + slab_rows - 1) / slab_rows;
    sums.resize(slabs * 3 * shape.channels);
    affine.resize(3 * shape.channels);
  }

  int64_t rows_of(int64_t slab) const { return std::min(slab_rows, shape.pixels - slab * slab_rows); }
  int64_t rest() const { return shape.channels - shape.first; }
  int64_t bytes(int64_t pixels, int64_t channels) const { return pixels * channels * element_bytes(shape.element); }

  void sum(int64_t slab) {
    const int64_t pixels = slab * slab_rows, channels = shape.channels;
    float* to = sums.data() + slab * 3 * channels;
    kernels.sums(x + bytes(pixels, shape.first), shape.element, rows_of(slab), shape.first, to, to + channels, to + 2 * channels);
    if (!rest()) return;
    to += shape.first;
    kernels.sums(beside + bytes(pixels, rest()), shape.element, rows_of(slab), rest(), to, to + channels, to + 2 * channels);
  }

  void join(const float* weight, const float* bias, const float* scale, const float* shift, const float* add) {
    const auto added = [&](int64_t c) { return add ? static_cast<double>(add[c]) : 0.0; };
    const int64_t channels = shape.channels, size = channels / shape.groups;
    for (int64_t group = 0; group < shape.groups; ++group) {
      double mean = 0, m2 = 0;
      const auto each = [&](auto f) {  // f(numbers, pivot, sum, square)
        for (int64_t slab = 0; slab < slabs; ++slab) {
          const double n = static_cast<double>(rows_of(slab));
          const float* from = sums.data() + slab * 3 * channels;
          for (int64_t c = group * size; c < (group + 1) * size; ++c) f(n, from[c] + added(c), from[channels + c], from[2 * channels + c]);
        }
      };
      const double count = static_cast<double>(shape.pixels) * static_cast<double>(size);
      each([&](double n, double pivot, double sum, double) { mean += n * pivot + sum; });
      mean /= count;
      each([&](double n, double pivot, double sum, double square) { m2 += square + (pivot - mean) * (2 * sum + n * (pivot - mean)); });
      const double r = 1 / std::sqrt(std::max(m2 / count, 0.0) + shape.eps);
      for (int64_t c = group * size; c < (group + 1) * size; ++c) {
        const double center = mean - added(c);
        const float near = static_cast<float>(center);  // what it leaves of the mean is in the shift
        double a = r * weight[c], b = bias[c] + (near - center) * a;
        if (scale) a *= 1.0 + scale[c], b = b * (1.0 + scale[c]) + shift[c];
        affine[c] = near, affine[channels + c] = static_cast<float>(a), affine[2 * channels + c] = static_cast<float>(b);
      }
    }
  }

  void write(int64_t slab) const {
    const auto part = [&](const char* from, int64_t first, int64_t count) {
      const int64_t pixels = slab * slab_rows;
      const float* const a = affine.data() + first;
      kernels.affine(out + bytes(pixels, shape.channels) + bytes(1, first), shape.channels, from + bytes(pixels, count), shape.element, rows_of(slab), count, a,
                     a + shape.channels, a + 2 * shape.channels, shape.silu);
    };
    part(x, 0, shape.first);
    if (rest()) part(beside, shape.first, rest());
  }
};

}  // namespace

void group_norm_cpu(void* out, GroupNormInputs inputs, float*, GroupNormShape shape, void*) {
  const auto run = [&](int64_t begin, int64_t end, bool by_slab) {
    for (int64_t b = begin; b < end; ++b) {
      Picture picture(shape, b, inputs, out);
      const auto row = [&](const float* rows, int64_t sharing) { return rows ? rows + b / sharing * shape.channels : nullptr; };
      const auto each_slab = [&](auto f) {
        if (by_slab) {
          at::parallel_for(0, picture.slabs, 1, [&](int64_t first, int64_t last) { for (int64_t s = first; s < last; ++s) f(s); });
        } else {
          for (int64_t s = 0; s < picture.slabs; ++s) f(s);
        }
      };
      each_slab([&](int64_t slab) { picture.sum(slab); });
      picture.join(inputs.weight, inputs.bias, row(inputs.scale, shape.sharing), row(inputs.shift, shape.sharing), row(inputs.add, shape.add_sharing));
      each_slab([&](int64_t slab) { picture.write(slab); });
    }
  };
  if (shape.pixels * shape.channels == 0) return;
  if (shape.batch % at::get_num_threads() == 0) {  // whole pictures each: what was read is still near when it is read again
    at::parallel_for(0, shape.batch, 1, [&](int64_t begin, int64_t end) { run(begin, end, false); });
  } else {
    run(0, shape.batch, true);
  }
}

}  // namespace diffmine
