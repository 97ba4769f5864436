// The gate of a transformer's feed-forward: hidden GELU(gate), the exact GELU x (1 + erf(x / sqrt 2)) / 2.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace diffmine {

// x [rows, 2 C] = (hidden, gate) -> out [rows, C], both of the element.
void launch_geglu(void* out, const void* x, Element element, int64_t rows, int64_t channels, void* cuda_stream);
void geglu_cpu(void* out, const void* x, Element element, int64_t rows, int64_t channels, void* cuda_stream = nullptr);

}  // namespace diffmine
