// Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller, the same on CPU and GPU.
//
// Noise is keyed by (seed, sample, stream) and counted by position, never by batch, so that a number
// depends only on its position: it is the same in any batch, shard or order.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace diffmine {

// What a draw is for; the fourth counter word.
enum class Stream : uint32_t {
  kScan = 0,
  kDift = 1,
  kTraining = 2,
  kVae = 3,
  kSampling = 4,
  kTimesteps = 5,
  kPatches = 6,
  kClustering = 7,
  kWeights = 8
};

struct Uint4 {
  uint32_t x, y, z, w;
};
struct Float4 {
  float x, y, z, w;
};

DIFFMINE_HD uint32_t mulhi(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
}

DIFFMINE_HD Uint4 philox4x32(Uint4 c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    if (round) {
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    const uint32_t h0 = mulhi(0xD2511F53u, c.x), l0 = 0xD2511F53u * c.x;
    const uint32_t h1 = mulhi(0xCD9E8D57u, c.z), l1 = 0xCD9E8D57u * c.z;
    c = {h1 ^ c.y ^ k0, l1, h0 ^ c.w ^ k1, l0};
  }
  return c;
}

// Block `block` (four numbers) of the stream.
DIFFMINE_HD Uint4 philox_block(uint64_t seed, uint32_t sample, Stream stream, uint64_t block) {
  return philox4x32(
      {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), sample, static_cast<uint32_t>(stream)},
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// (0, 1], never 0: the center of one of 2^24 equal parts, rounded to fp32.
DIFFMINE_HD float uniform_open(uint32_t a) { return (static_cast<float>(a >> 8) + 0.5f) * 5.9604644775390625e-8f; }

DIFFMINE_HD Float4 normal_block(uint64_t seed, uint32_t sample, Stream stream, uint64_t block) {
  const Uint4 r = philox_block(seed, sample, stream, block);
  const float two_pi = 6.283185307179586f;
  const float a = sqrtf(-2.0f * logf(uniform_open(r.x))), b = sqrtf(-2.0f * logf(uniform_open(r.z)));
  const float p = two_pi * (static_cast<float>(r.y >> 8) * 5.9604644775390625e-8f);
  const float q = two_pi * (static_cast<float>(r.w >> 8) * 5.9604644775390625e-8f);
  return {a * cosf(p), a * sinf(p), b * cosf(q), b * sinf(q)};
}

}  // namespace diffmine
