// CPU implementation of noise.cu.
#include "kernels/noise.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "core/philox.h"

namespace diffmine {

void philox_normal_cpu(float* out, int64_t first_sample, int64_t samples, int64_t per_sample, uint64_t seed,
                       uint32_t stream_word, void*) {
  const int64_t blocks = (per_sample + 3) / 4;
  at::parallel_for(0, samples * blocks, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sample = i / blocks, block = i % blocks;
      const Float4 z =
          normal_block(seed, static_cast<uint32_t>(first_sample + sample), static_cast<Stream>(stream_word), block);
      const float four[4] = {z.x, z.y, z.z, z.w};
      std::copy_n(four, std::min<int64_t>(4, per_sample - 4 * block), out + sample * per_sample + 4 * block);
    }
  });
}

}  // namespace diffmine
