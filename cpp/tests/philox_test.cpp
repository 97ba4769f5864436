// Philox4x32-10 against the known answers of Random123 (kat_vectors), and the normal numbers made of it.
#include "core/philox.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace diffmine;

TEST_CASE("philox4x32-10: known answers of Random123") {
  struct Case {
    Uint4 counter;
    uint32_t k0, k1;
    Uint4 result;
  };
  const std::vector<Case> cases = {
      {{0, 0, 0, 0}, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, ~0u, ~0u, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       0xa4093822,
       0x299f31d0,
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Case& c : cases) {
    const Uint4 r = philox4x32(c.counter, c.k0, c.k1);
    CHECK(r.x == c.result.x);
    CHECK(r.y == c.result.y);
    CHECK(r.z == c.result.z);
    CHECK(r.w == c.result.w);
  }
}

TEST_CASE("philox_block: seed, sample, stream and block are the words of key and counter") {
  const Uint4 a = philox_block(0x299f31d0a4093822, 0x13198a2e, static_cast<Stream>(0x03707344), 0x85a308d3243f6a88);
  CHECK(a.x == 0xd16cfe09);
  CHECK(a.w == 0x24126ea1);
}

TEST_CASE("normal_block: known normal numbers") {
  struct Case {
    uint64_t seed;
    uint32_t sample;
    Stream stream;
    uint64_t block;
    float z[4];
  };
  const std::vector<Case> cases = {
      {42, 0, Stream::kScan, 0, {-0.970190f, 0.194019f, -1.235620f, 1.923927f}},
      {42, 7, Stream::kScan, 0, {1.065151f, -0.817525f, -0.658450f, 1.132866f}},
      {42, 0, Stream::kDift, 0, {-1.691436f, -1.132029f, 0.326128f, -1.456004f}},
      {(1ull << 40) + 5, 3, Stream::kScan, 1000, {-0.165441f, 0.674380f, -0.484595f, -0.585341f}},
  };
  for (const Case& c : cases) {
    const Float4 z = normal_block(c.seed, c.sample, c.stream, c.block);
    CHECK(std::abs(z.x - c.z[0]) <= 1e-5f);
    CHECK(std::abs(z.y - c.z[1]) <= 1e-5f);
    CHECK(std::abs(z.z - c.z[2]) <= 1e-5f);
    CHECK(std::abs(z.w - c.z[3]) <= 1e-5f);
  }
}

TEST_CASE("uniform_open: never 0, so that no normal number is infinite") {
  CHECK(uniform_open(0) > 0.0f);
  CHECK(uniform_open(~0u) <= 1.0f);
  CHECK(std::isfinite(std::sqrt(-2.0f * std::log(uniform_open(0)))));
  CHECK(std::sqrt(-2.0f * std::log(uniform_open(~0u))) >= 0.0f);
}
