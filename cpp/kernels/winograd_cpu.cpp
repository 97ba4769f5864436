#include "kernels/winograd_cpu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <vector>

#include "kernels/brgemm.h"
#include "kernels/winograd.h"

namespace diffmine {
namespace {

constexpr int64_t kTiles = 64;    // of one block, rows of a product; fewer where there are too few for all threads
constexpr int64_t kColumns = 64;  // output channels of one product
// Rows of the 16 matrices would lie a multiple of 4096 bytes apart, all in the same sets of the first cache.
constexpr int64_t kApart = 16;

int64_t columns_of(int64_t out, int64_t first) { return std::min(kColumns, out - first); }

// Where tiles lie in the images, and what they read and write.
struct Tiles {
  int64_t images, height, width, rows, columns;
  Tiles(int64_t images_, int64_t height_, int64_t width_)
      : images(images_), height(height_), width(width_), rows((height_ + 1) / 2), columns((width_ + 1) / 2) {}
  int64_t count() const { return images * rows * columns; }

  struct Place {
    int64_t image, row, column;
  };  // the tile's first output pixel
  Place place(int64_t tile) const { return {tile / (rows * columns), tile / columns % rows * 2, tile % columns * 2}; }
  bool inside(int64_t row, int64_t column) const { return row >= 0 && row < height && column >= 0 && column < width; }
  int64_t pixel(const Place& p, int64_t row, int64_t column) const { return (p.image * height + row) * width + column; }
};

}  // namespace

bool winograd_pays(int64_t in, int64_t out, at::ScalarType dtype) {
  return (dtype == at::kFloat || dtype == at::kHalf) && in >= 32 && out >= 32 && in % 16 == 0 && out % 16 == 0 &&
         in * out <= 1280 * 1024 && has_brgemm<float>();
}

at::Tensor winograd_weight(const at::Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const auto g = at::tensor({1.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, -0.5, 0.5, 0.0, 0.0, 1.0}, at::kDouble).view({4, 3});
  auto packed = at::empty({16 * in * out}, at::kFloat);
  for (int64_t first = 0; first < out; first += kColumns) {
    const int64_t columns = columns_of(out, first);
    const auto u = at::matmul(at::matmul(g, weight.slice(0, first, first + columns).to(at::kDouble)),
                              g.t());  // [columns, in, 4, 4]
    packed.slice(0, 16 * in * first, 16 * in * (first + columns))
        .view({4, 4, in, columns})
        .copy_(u.permute({2, 3, 1, 0}));
  }
  return packed;
}

at::Tensor winograd_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         const at::Tensor& residual) {
  if (x.scalar_type() != at::kFloat) {
    const auto fp32 = [](const at::Tensor& t) { return t.defined() ? t.to(at::kFloat) : t; };
    return winograd_conv(fp32(x), weight, fp32(bias), fp32(residual)).to(x.scalar_type());
  }
  const int64_t in = x.size(1), out = bias.size(0);
  const Tiles tiles(x.size(0), x.size(2), x.size(3));
  const auto y = at::empty({tiles.images, out, tiles.height, tiles.width}, x.options(), at::MemoryFormat::ChannelsLast);
  const auto nhwc = [](const at::Tensor& t) { return t.contiguous(at::MemoryFormat::ChannelsLast); };
  const auto input = nhwc(x), other = residual.defined() ? nhwc(residual) : residual;
  const float *from = input.const_data_ptr<float>(), *u = weight.const_data_ptr<float>(),
              *shift = bias.const_data_ptr<float>();
  const float* add = other.defined() ? other.const_data_ptr<float>() : nullptr;
  float* const to = y.mutable_data_ptr<float>();
  const std::vector<float> nothing(in, 0.0f);  // pixels outside of the image
  const int64_t size =
      std::clamp((tiles.count() + at::get_num_threads() - 1) / at::get_num_threads(), int64_t{1}, kTiles);
  const auto& kernels = winograd_kernels();

  at::parallel_for(0, (tiles.count() + size - 1) / size, 1, [&](int64_t begin, int64_t end) {
    const int64_t v_row = size * in + kApart, m_row = size * kColumns + kApart;
    const auto scratch = c10::GetCPUAllocator()->allocate(16 * (v_row + m_row) * sizeof(float));
    float *const v = static_cast<float*>(scratch.get()), *const m = v + 16 * v_row;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * size, n = std::min(size, tiles.count() - first);
      for (int64_t i = 0; i < n; ++i) {
        const auto p = tiles.place(first + i);
        const float* d[16];
        for (int64_t k = 0; k < 16; ++k) {
          const int64_t row = p.row + k / 4 - 1, column = p.column + k % 4 - 1;
          d[k] = tiles.inside(row, column) ? from + tiles.pixel(p, row, column) * in : nothing.data();
        }
        kernels.input(v + i * in, v_row, d, in);
      }
      for (int64_t channel = 0; channel < out; channel += kColumns) {
        const int64_t columns = columns_of(out, channel);
        for (int64_t k = 0; k < 16; ++k) {
          brgemm<float>(n, columns, in, v + k * v_row, in, u + (16 * channel + k * columns) * in, m + k * m_row,
                        columns, false);
        }
        for (int64_t i = 0; i < n; ++i) {
          const auto p = tiles.place(first + i);
          float* pixels[4];
          const float* added[4];
          for (int64_t k = 0; k < 4; ++k) {
            const int64_t row = p.row + k / 2, column = p.column + k % 2;
            const int64_t at = tiles.pixel(p, row, column) * out + channel;
            pixels[k] = tiles.inside(row, column) ? to + at : nullptr;
            added[k] = add ? add + at : nullptr;
          }
          kernels.output(pixels, m + i * columns, m_row, shift + channel, add ? added : nullptr, columns);
        }
      }
    }
    at::native::cpublas::brgemm_release();
  });
  return y;
}

}  // namespace diffmine
