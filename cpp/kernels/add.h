// What is added to a layer's output, in place and in one pass: a residual, and a vector over channels (bias, time
// embedding).
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

struct AddShape {
  int64_t batch, pixels, channels;  // of x [B, P, C]
  int64_t residual_sharing;         // this many neighbors of the batch share a row of the residual [B / sharing, P, C]
  int64_t vector_sharing;           // and of the vectors [B / sharing, C]
  Dtype dtype;                      // of x and the residual; vectors are fp32
};

// x += residual + v; either may be null.
void launch_add(void* x, const void* residual, const float* v, AddShape shape, void* cuda_stream);
void add_cpu(void* x, const void* residual, const float* v, AddShape shape, void* cuda_stream = nullptr);

}  // namespace diffmine
