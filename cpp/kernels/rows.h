// What the layers' CPU implementations do row by row, in vector instructions. rows_simd.cpp is compiled once for each
// instruction set and the one of this machine is taken when the program runs (cmake/simd.cmake).
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

// Rows [n, c] lie one after the other and are of one Dtype; what is per channel is fp32.
struct RowKernels {
  // Sums over the rows of x - pivot and of its square, by channel; the pivot is the mean of the first few rows, so that
  // nothing cancels. n >= 1.
  void (*sums)(const void* x, Dtype dtype, int64_t n, int64_t c, float* pivot, float* sum, float* square);
  // out = (x - mean) scale + shift, with SiLU if requested; rows of `out` are out_row apart.
  void (*affine)(void* out, int64_t out_row, const void* x, Dtype dtype, int64_t n, int64_t c, const float* mean,
                 const float* scale, const float* shift, bool silu);
  // out = (x - mean) / sqrt(var + eps) weight + bias for x = x + add [c] (may be null), the moments over each row.
  void (*layer_norm)(void* out, const void* x, Dtype dtype, int64_t n, int64_t c, const float* weight,
                     const float* bias, const float* add, float eps);
  // x [n, 2 c] = (hidden, gate) -> out [n, c] = hidden GELU(gate).
  void (*geglu)(void* out, const void* x, Dtype dtype, int64_t n, int64_t c);
  // x += residual + v [c]; either may be null.
  void (*add)(void* x, const void* residual, const float* v, Dtype dtype, int64_t n, int64_t c);
  // One block of a softmax along rows, after earlier blocks: weights [n, stride] = exp(scores [n, stride] * scale -
  // running_max), with 0 after an odd c. running_max [n] grows, in a unit of the kernel's own, and what was weighted by
  // the old one shrinks: sum [n] and mixed [n, m]. May be in place for fp32.
  void (*softmax)(void* weights, const float* scores, Dtype dtype, int64_t n, int64_t c, int64_t stride, float scale,
                  float* running_max, float* sum, float* mixed, int64_t m);
};

const RowKernels& row_kernels();

}  // namespace diffmine
