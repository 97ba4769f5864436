#include "models/attention_cpu.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/brgemm.h"
#include "kernels/rows.h"

namespace diffmine {
namespace {

// Queries and keys of one block: scores of 128 x 512 are 256 KB, a quarter of a core's second cache.
constexpr int64_t kQueries = 128, kKeys = 512;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Keys and values of one head, packed: keys transposed in blocks [d, kKeys], values [M, d] with d rounded up, as a tail costs more than it holds.
template <class T>
struct Packing {
  int64_t keys, size, columns, padded;
  Packing(int64_t keys_, int64_t size_) : keys(keys_), size(size_), columns(round_up(size_, 16)), padded(round_up(keys_, 2)) {}
  int64_t key_numbers() const { return size * padded; }
  int64_t numbers() const { return key_numbers() + columns * padded; }
  int64_t block(int64_t first) const { return std::min(kKeys, round_up(keys - first, kTogether<T>)); }

  void pack(T* to, const T* k, int64_t k_row, const T* v, int64_t v_row) const {
    std::fill_n(to, numbers(), T(0));
    constexpr int64_t together = kTogether<T>;
    for (int64_t m = 0; m < keys; ++m) {
      const int64_t first = m / kKeys * kKeys, n = block(first);
      T* const key = to + first * size + (m - first) * together;
      for (int64_t i = 0; i < size; ++i) key[i / together * n * together + i % together] = k[m * k_row + i];
      T* const value = to + key_numbers() + m / together * columns * together + m % together;
      for (int64_t i = 0; i < size; ++i) value[i * together] = v[m * v_row + i];
    }
  }
};

// Queries q [n, d] of one head against its packed keys and values -> out.
template <class T>
void attend(const Packing<T>& packing, const T* packed, const T* q, int64_t q_row, int64_t n, T* out, int64_t out_row, float scale, float* scratch) {
  const auto& kernels = row_kernels();
  constexpr Element element = std::is_same_v<T, float> ? Element::kFloat32 : Element::kBFloat16;
  const int64_t columns = packing.columns;
  float* const scores = scratch;
  float* const mixed = scores + kQueries * kKeys;
  float* const most = mixed + kQueries * columns;
  float* const sum = most + kQueries;
  T* const weights = reinterpret_cast<T*>(std::is_same_v<T, float> ? scores : sum + kQueries);
  std::fill_n(mixed, n * columns, 0.0f);
  std::fill_n(most, n, -std::numeric_limits<float>::infinity());
  std::fill_n(sum, n, 0.0f);
  for (int64_t m = 0; m < packing.keys; m += kKeys) {
    const int64_t block = packing.block(m);
    brgemm<T>(n, block, packing.size, q, q_row, packed + m * packing.size, scores, kKeys, false);
    kernels.softmax(weights, scores, element, n, std::min(kKeys, packing.keys - m), kKeys, scale, most, sum, mixed, columns);
    brgemm<T>(n, columns, block, weights, kKeys, packed + packing.key_numbers() + m * columns, mixed, columns, true);
  }
  for (int64_t row = 0; row < n; ++row) {
    const float share = 1 / sum[row];
    for (int64_t i = 0; i < packing.size; ++i) out[row * out_row + i] = static_cast<T>(mixed[row * columns + i] * share);
  }
}

template <class T>
void run(const at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t heads = q.size(1), queries = q.size(2), all = q.size(0) * heads, blocks = (queries + kQueries - 1) / kQueries;
  const Packing<T> packing(k.size(2), q.size(3));
  const at::Tensor packed = at::empty({all * packing.numbers()}, q.options());
  T* const to = packed.mutable_data_ptr<T>();
  const auto of = [&](auto* data, const at::Tensor& x, int64_t head) { return data + head / heads * x.stride(0) + head % heads * x.stride(1); };
  at::parallel_for(0, all, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      packing.pack(to + head * packing.numbers(), of(k.const_data_ptr<T>(), k, head), k.stride(2), of(v.const_data_ptr<T>(), v, head), v.stride(2));
    }
  });
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(packing.size)));
  at::parallel_for(0, all * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(kQueries * (kKeys * 3 / 2 + packing.columns + 2));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / blocks, first = i % blocks * kQueries;
      attend<T>(packing, to + head * packing.numbers(), of(q.const_data_ptr<T>(), q, head) + first * q.stride(2), q.stride(2), std::min(kQueries, queries - first),
                of(out.mutable_data_ptr<T>(), out, head) + first * out.stride(2), out.stride(2), scale, scratch.data());
    }
    at::native::cpublas::brgemm_release();
  });
}

}  // namespace

bool has_attention_cpu(at::ScalarType dtype) {
  return (dtype == at::kFloat && has_brgemm<float>()) || (dtype == at::kBFloat16 && has_brgemm<at::BFloat16>());
}

at::Tensor attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto out = at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2);
  if (q.scalar_type() == at::kFloat) run<float>(out, q, k, v); else run<at::BFloat16>(out, q, k, v);
  return out;
}

}  // namespace diffmine
