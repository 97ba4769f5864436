// The two transforms around the products of Winograd's minimal filtering F(2 x 2, 3 x 3) (Lavin & Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016): a 3 x 3 convolution of stride 1 makes 2 x 2 outputs of 4 x 4
// inputs with 16 products a pair of channels instead of 36. winograd_simd.cpp is compiled once for each instruction
// set.
#pragma once
#include <cstdint>

namespace diffmine {

// Channels are contiguous, in fp32.
struct WinogradKernels {
  // Of one tile: v [16, c] = B^T d B, rows v_row apart, of the pixels d [4 x 4], each a pointer to c channels.
  void (*input)(float* v, int64_t v_row, const float* const* d, int64_t c);
  // out [2 x 2] = A^T m A + bias [c] (+ added), of m [16, c], rows m_row apart. Pixels of `out` that are null lie
  // outside of the image; `added` is null, or has a pointer wherever `out` has one.
  void (*output)(float* const* out, const float* m, int64_t m_row, const float* bias, const float* const* added,
                 int64_t c);
};

const WinogradKernels& winograd_kernels();

}  // namespace diffmine
