// LayerNorm over rows: y = (x - mean) / sqrt(var + eps) weight + bias. A vector may be added to x first: biases of
// products that were accumulated into x.
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

// out, x [rows, C] of the dtype; weight, bias, add [C], add may be null.
void launch_layer_norm(void* out, const void* x, Dtype dtype, const float* weight, const float* bias, const float* add,
                       int64_t rows, int64_t channels, double eps, void* cuda_stream);
void layer_norm_cpu(void* out, const void* x, Dtype dtype, const float* weight, const float* bias, const float* add,
                    int64_t rows, int64_t channels, double eps, void* cuda_stream = nullptr);

}  // namespace diffmine
