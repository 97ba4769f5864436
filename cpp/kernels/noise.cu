// Philox noise: one thread makes one block of four numbers.
#include "core/philox.h"
#include "kernels/launch.cuh"
#include "kernels/noise.h"

namespace diffmine {
namespace {

__global__ void philox_normal(float* __restrict__ out, int64_t first_sample, int64_t samples, int64_t per_sample,
                              int64_t blocks, uint64_t seed, uint32_t stream_word) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= samples * blocks) return;
  const int64_t sample = i / blocks, block = i % blocks;
  const Float4 z =
      normal_block(seed, static_cast<uint32_t>(first_sample + sample), static_cast<Stream>(stream_word), block);
  float* to = out + sample * per_sample + 4 * block;
  const int64_t room = per_sample - 4 * block;
  to[0] = z.x;
  if (room > 1) to[1] = z.y;
  if (room > 2) to[2] = z.z;
  if (room > 3) to[3] = z.w;
}

}  // namespace

void launch_philox_normal(float* out, int64_t first_sample, int64_t samples, int64_t per_sample, uint64_t seed,
                          uint32_t stream_word, void* cuda_stream) {
  const int64_t blocks = (per_sample + 3) / 4;
  if (samples * blocks == 0) return;
  launch("philox_normal", philox_normal, {blocks_of(samples * blocks)}, cuda_stream, out, first_sample, samples,
         per_sample, blocks, seed, stream_word);
}

}  // namespace diffmine
