// Attention in blocks against float64, on fresh random input.
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "devices.h"
#include "models/attention_cpu.h"
#include "support.h"

using namespace diffmine;

namespace {

at::Tensor exact(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto scores = at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(-1, -2)) / std::sqrt(static_cast<double>(q.size(-1)));
  return at::matmul(at::softmax(scores, -1), v.to(at::kDouble));
}

double worst(const at::Tensor& got, const at::Tensor& want) { return ((got.to(at::kDouble) - want).abs().max() / want.abs().max()).item<double>(); }

}  // namespace

TEST_CASE("attention in blocks: odd sizes, packed and shared keys, scores far from zero") {
  const uint64_t seed = test::fresh_seed();
  CAPTURE(seed);
  struct Case { int64_t batch, heads, queries, keys, size; };
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!has_attention_cpu(dtype)) {
      MESSAGE("not on this processor: " << std::string(c10::toString(dtype)));
      continue;
    }
    const double tolerance = dtype == at::kFloat ? 5e-6 : 1e-2;
    for (const Case& s : {Case{2, 3, 77, 77, 40}, Case{1, 1, 1, 1, 2}, Case{1, 2, 130, 1001, 6}, Case{1, 1, 300, 513, 512}, Case{3, 2, 5, 1024, 18}, Case{2, 1, 129, 3, 80}}) {
      CAPTURE(std::string(c10::toString(dtype)));
      CAPTURE(s.queries);
      CAPTURE(s.keys);
      // One projection holds them side by side: [B, N, 3, heads, d].
      const auto packed = at::randn({s.batch, std::max(s.queries, s.keys), 3, s.heads, s.size}).to(dtype);
      const auto part = [&](int64_t which, int64_t n) { return packed.slice(1, 0, n).select(2, which).transpose(1, 2); };
      const auto q = part(0, s.queries), k = part(1, s.keys), v = part(2, s.keys);
      const auto got = attention_cpu(q, k, v);
      CHECK(got.transpose(1, 2).is_contiguous());
      CHECK(worst(got, exact(q, k, v)) < tolerance);
      const auto shared = [&](const at::Tensor& x) { return x.slice(0, 0, 1).expand(x.sizes()); };
      CHECK(worst(attention_cpu(q, shared(k), shared(v)), exact(q, shared(k), shared(v))) < tolerance);
      // Far below zero, and above: the largest score is what counts.
      for (const double level : {-1e4, 1e4}) {
        const auto sharp = (q * 0 + std::sqrt(static_cast<double>(s.size))).to(dtype), far = (k * 0.01 + level / static_cast<double>(s.size)).to(dtype);
        CHECK(worst(attention_cpu(sharp, far, v), exact(sharp, far, v)) < (dtype == at::kFloat ? 2e-2 : 5e-2));  // scores of 1e4 have so few digits left
      }
    }
  }
}
