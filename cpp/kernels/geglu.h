// The gate of a transformer's feed-forward: hidden GELU(gate), the exact GELU x (1 + erf(x / sqrt 2)) / 2.
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

// x [rows, 2 C] = (hidden, gate) -> out [rows, C], both of the dtype.
void launch_geglu(void* out, const void* x, Dtype dtype, int64_t rows, int64_t channels, void* cuda_stream);
void geglu_cpu(void* out, const void* x, Dtype dtype, int64_t rows, int64_t channels, void* cuda_stream = nullptr);

}  // namespace diffmine
