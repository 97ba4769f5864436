// See winograd.h. Compiled several times with different instruction sets, so it takes in nothing but vector types (as
// rows_simd.cpp does).
#include <ATen/cpu/vec/vec.h>

#include <algorithm>

#include "kernels/winograd.h"

#ifndef DIFFMINE_KERNELS
#define DIFFMINE_KERNELS winograd_kernels_default
#endif

namespace diffmine {
namespace {

using Vector = at::vec::Vectorized<float>;
constexpr int64_t kWidth = Vector::size();

Vector load(const float* p, int64_t count) { return count == kWidth ? Vector::loadu(p) : Vector::loadu(p, count); }

// f(i, count) over 0 ... c - 1 in steps of a vector; the last may be cut. Both calls are inlined, the first without
// tests of count.
template <class F>
inline __attribute__((always_inline)) void by_vector(int64_t c, F f) {
  int64_t i = 0;
  for (; i + kWidth <= c; i += kWidth) f(i, kWidth);
  if (i < c) f(i, c - i);
}

// B^T of four numbers.
inline __attribute__((always_inline)) void forward(Vector& a, Vector& b, Vector& c, Vector& d) {
  const Vector sum = b + c, difference = c - b;
  a = a - c, d = b - d;
  b = sum, c = difference;
}

void input(float* v, int64_t v_row, const float* const* d, int64_t channels) {
  by_vector(channels, [&](int64_t i, int64_t count) {
    Vector x[16];
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) x[k] = load(d[k] + i, count);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) forward(x[k], x[4 + k], x[8 + k], x[12 + k]);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) forward(x[4 * k], x[4 * k + 1], x[4 * k + 2], x[4 * k + 3]);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) x[k].store(v + k * v_row + i, count);
  });
}

void output(float* const* out, const float* m, int64_t m_row, const float* bias, const float* const* added,
            int64_t channels) {
  by_vector(channels, [&](int64_t i, int64_t count) {
    Vector upper[4], lower[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const Vector a = load(m + k * m_row + i, count), b = load(m + (4 + k) * m_row + i, count),
                   c = load(m + (8 + k) * m_row + i, count), d = load(m + (12 + k) * m_row + i, count);
      upper[k] = a + b + c;
      lower[k] = b - c - d;
    }
    const Vector shift = load(bias + i, count);
    const Vector y[4] = {upper[0] + upper[1] + upper[2], upper[1] - upper[2] - upper[3], lower[0] + lower[1] + lower[2],
                         lower[1] - lower[2] - lower[3]};
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      if (!out[k]) continue;
      const Vector shifted = y[k] + shift;
      (added ? shifted + load(added[k] + i, count) : shifted).store(out[k] + i, count);
    }
  });
}

}  // namespace

extern const WinogradKernels DIFFMINE_KERNELS;
const WinogradKernels DIFFMINE_KERNELS{input, output};

}  // namespace diffmine
