// Attention against float64, on fresh random input: in blocks on a CPU, and as the models ask for it on every device.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/backends.h"
#include "devices.h"
#include "kernels/attention_cpu.h"
#include "models/attention.h"
#include "support.h"

using namespace diffmine;

namespace {

at::Tensor exact(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto scores =
      at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(-1, -2)) / std::sqrt(static_cast<double>(q.size(-1)));
  return at::matmul(at::softmax(scores, -1), v.to(at::kDouble));
}

bool computes(const at::Device& device, at::ScalarType dtype) {
  return dtype != at::kHalf || device.is_cuda() || cpu_computes_fp16();
}

double worst(const at::Tensor& got, const at::Tensor& want) {
  return ((got.to(at::kDouble) - want).abs().max() / want.abs().max()).item<double>();
}

}  // namespace

TEST_CASE("attention in blocks: odd sizes, packed and shared keys, scores far from zero") {
  struct Case {
    int64_t batch, heads, queries, keys, size;
  };
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!has_attention_cpu(dtype)) {
      MESSAGE("not on this processor: " << std::string(c10::toString(dtype)));
      continue;
    }
    const double tolerance = dtype == at::kFloat ? 5e-6 : 1e-2;
    for (const Case& s :
         {Case{2, 3, 77, 77, 40}, Case{1, 1, 1, 1, 2}, Case{1, 2, 130, 1001, 6}, Case{1, 1, 300, 513, 512},
          Case{3, 2, 5, 1024, 18}, Case{2, 1, 129, 3, 80}, Case{1, 2, 33, 65, 160}, Case{2, 1, 65, 543, 30}}) {
      CAPTURE(std::string(c10::toString(dtype)));
      CAPTURE(s.queries);
      CAPTURE(s.keys);
      // One projection holds them side by side: [B, N, 3, heads, d].
      const auto packed = at::randn({s.batch, std::max(s.queries, s.keys), 3, s.heads, s.size}).to(dtype);
      const auto part = [&](int64_t which, int64_t n) {
        return packed.slice(1, 0, n).select(2, which).transpose(1, 2);
      };
      const auto q = part(0, s.queries), k = part(1, s.keys), v = part(2, s.keys);
      const auto got = attention_cpu(q, k, v);
      CHECK(got.transpose(1, 2).is_contiguous());
      CHECK(worst(got, exact(q, k, v)) < tolerance);
      const auto shared = [&](const at::Tensor& x) { return x.slice(0, 0, 1).expand(x.sizes()); };
      CHECK(worst(attention_cpu(q, shared(k), shared(v)), exact(q, shared(k), shared(v))) < tolerance);
      // Far below zero, and above: the largest score is what counts.
      for (const double level : {-1e4, 1e4}) {
        const auto sharp = (q * 0 + std::sqrt(static_cast<double>(s.size))).to(dtype),
                   far = (k * 0.01 + level / static_cast<double>(s.size)).to(dtype);
        CHECK(worst(attention_cpu(sharp, far, v), exact(sharp, far, v)) <
              (dtype == at::kFloat ? 2e-2 : 5e-2));  // scores of 1e4 have so few digits left
      }
    }
  }
}

TEST_CASE("attention in blocks: scores that rise or fall from block to block") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!has_attention_cpu(dtype)) continue;
    CAPTURE(std::string(c10::toString(dtype)));
    for (const int64_t size : {20, 40, 96, 160}) {  // tiles of one, two, three and five steps
      CAPTURE(size);
      const auto q = at::randn({1, 2, 70, size}).abs().to(dtype), v = at::randn({1, 2, 2500, size}).to(dtype);
      const auto rise = at::arange(2500, at::kFloat).view({1, 1, 2500, 1}) / 2500;
      for (const double by :
           {-40.0, -3.0, 3.0, 40.0}) {  // the largest score of a row grows with each block, or never again
        CAPTURE(by);
        const auto k =
            ((at::randn({1, 2, 2500, size}) * 0.3 + rise * by) / std::sqrt(static_cast<double>(size))).to(dtype);
        CHECK(worst(attention_cpu(q, k, v), exact(q, k, v)) < (dtype == at::kFloat ? 2e-5 : 1e-2));
      }
    }
  }
}

TEST_CASE("attention in blocks: the same bits for any number of threads, and whatever lies beside an image") {
  const int threads = at::get_num_threads();
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    if (!has_attention_cpu(dtype)) continue;
    CAPTURE(std::string(c10::toString(dtype)));
    const auto q = at::randn({3, 5, 1500, 40}).to(dtype), k = at::randn({3, 5, 600, 40}).to(dtype),
               v = at::randn({3, 5, 600, 40}).to(dtype);
    at::set_num_threads(1);
    const auto want = attention_cpu(q, k, v);
    for (const int n : {2, 3, 7}) {  // heads are divided among two and seven threads, not among three
      at::set_num_threads(n);
      CHECK(at::equal(attention_cpu(q, k, v), want));
    }
    const auto one = [](const at::Tensor& x) { return x.slice(0, 1, 2); };
    CHECK(at::equal(attention_cpu(one(q), one(k), one(v)), one(want)));
    // A row that overflows is its own affair.
    auto broken = q.clone();
    broken.slice(2, 40, 41).fill_(std::numeric_limits<float>::quiet_NaN());
    const auto got = attention_cpu(broken, k, v);
    CHECK(at::isnan(got.slice(2, 40, 41)).all().item<bool>());
    CHECK(at::equal(got.slice(2, 0, 40), want.slice(2, 0, 40)));
    CHECK(at::equal(got.slice(2, 41), want.slice(2, 41)));
  }
  at::set_num_threads(threads);
}

TEST_CASE("attention of the UNet's heads, to itself and to a text's 77 tokens") {
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    struct Precision {
      at::ScalarType dtype;
      double tolerance;
    };
    for (const Precision& p :
         {Precision{at::kFloat, 2e-5}, Precision{at::kBFloat16, 2e-2}, Precision{at::kHalf, 3e-3}}) {
      if (!computes(device, p.dtype)) continue;
      probe_cudnn_attention(device, p.dtype);
      CAPTURE(std::string(c10::toString(p.dtype)));
      for (const int64_t size : {40, 80, 160}) {
        CAPTURE(size);
        // Queries, keys and values of an image lie beside each other, those of a text by themselves.
        const auto packed = at::randn({2, 200, 3 * 8 * size}).to(p.dtype),
                   text = at::randn({2, 77, 8 * size}).to(p.dtype);
        const auto parts = packed.to(device).chunk(3, -1);
        const auto heads = [](const at::Tensor& x) { return split_heads(x, 8); };
        const auto q = heads(parts[0]), k = heads(parts[1]), v = heads(parts[2]),
                   words = heads(text.to(device)).contiguous();
        CHECK(worst(attention(q, k, v).cpu(), exact(q.cpu(), k.cpu(), v.cpu())) < p.tolerance);
        CHECK(worst(attention(q, words, words).cpu(), exact(q.cpu(), words.cpu(), words.cpu())) < p.tolerance);
      }
    }
  }
}

// What models with `upcast_attention` need: scores that fp16 cannot hold (65504), before and after scaling. On every
// path that attention() may take: in blocks, LibTorch's, few keys, a mask, and FlashAttention by name.
TEST_CASE("attention with scores of 3e5 is that of fp32 in every dtype") {
  EngineOptions others;
  others.block_attention = others.cudnn_attention = false;
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    struct Precision {
      at::ScalarType dtype;
      double tolerance;
    };
    for (const Precision& p :
         {Precision{at::kFloat, 1e-4}, Precision{at::kBFloat16, 2e-2}, Precision{at::kHalf, 3e-3}}) {
      if (!computes(device, p.dtype)) continue;
      probe_cudnn_attention(device, p.dtype);
      CAPTURE(std::string(c10::toString(p.dtype)));
      for (const int64_t size : {40, 64, 160, 15}) {
        for (const int64_t keys : {200, 77, 5}) {
          CAPTURE(size);
          CAPTURE(keys);
          // Queries are a pattern of signs, and keys multiples of it: the largest decides, by ten thousands and more.
          const auto signs = at::randn({2, 8, 1, size}).sign();
          const double magnitude = std::sqrt(3e5 / std::sqrt(static_cast<double>(size)));
          const auto q = (signs * magnitude).expand({2, 8, 150, size}).contiguous().to(p.dtype),
                     v = at::randn({2, 8, keys, size}).to(p.dtype);
          for (const double towards : {1.0, -1.0}) {
            auto factors = at::rand({2, 8, keys, 1}) * 0.3 + 0.6;
            factors.select(2, keys / 2).fill_(1.001),
                factors.select(2, keys / 3).fill_(0.4);  // the largest, the other way round the least
            const auto k = (signs * towards * magnitude * factors).to(p.dtype);
            const auto scores = at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(-1, -2)) /
                                std::sqrt(static_cast<double>(size));
            REQUIRE(scores.abs().max().item<double>() > 2.9e5);
            const auto want = exact(q, k, v);
            for (const auto& options : {EngineOptions{}, others}) {
              const auto got = attention(q.to(device), k.to(device), v.to(device), options).cpu();
              CHECK(worst(got, want) < p.tolerance);
            }
            if (keys == 200) {  // the last query sees them all
              const auto masked = attention(q.to(device), k.slice(2, 0, 150).to(device), v.slice(2, 0, 150).to(device),
                                            {}, /*causal=*/true)
                                      .cpu();
              CHECK(worst(masked.slice(2, 149), exact(q, k.slice(2, 0, 150), v.slice(2, 0, 150)).slice(2, 149)) <
                    p.tolerance);
            }
          }
        }
      }
    }
  }
}
