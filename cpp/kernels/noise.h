// Standard normal noise by position (core/philox.h).
#pragma once
#include <cstdint>

namespace diffmine {

// out [samples, per_sample]: number i of samples first_sample ... first_sample + samples - 1 of the stream (a Stream,
// as its word). The CPU implementation has the same signature and ignores the CUDA stream.
void launch_philox_normal(float* out, int64_t first_sample, int64_t samples, int64_t per_sample, uint64_t seed,
                          uint32_t stream_word, void* cuda_stream);
void philox_normal_cpu(float* out, int64_t first_sample, int64_t samples, int64_t per_sample, uint64_t seed,
                       uint32_t stream_word, void* cuda_stream = nullptr);

}  // namespace diffmine
