#include "kernels/attention_cpu.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/attention_amx.h"
#include "kernels/brgemm.h"
#include "kernels/rows.h"
#include "kernels/simd.h"

namespace diffmine {
namespace {

// Queries and keys of one block: scores of 128 x 512 are 256 KB, a quarter of a core's second cache.
constexpr int64_t kQueries = 128, kKeys = 512;
// Queries for which it pays to pack a head's keys again, so that threads can share a head.
constexpr int64_t kMinQueries = 512;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

struct ReleaseBrgemm {
  ~ReleaseBrgemm() { at::native::cpublas::brgemm_release(); }
};

// One head by oneDNN's block products. Keys are packed transposed, in blocks [d, kKeys]; values as [M, d] with d
// rounded up, because a tail costs more than the padding.
template <class T>
struct BrgemmHead {
  using Scope = ReleaseBrgemm;

  int64_t keys, size, columns = round_up(size, 16), padded = round_up(keys, 2);

  int64_t packed() const { return (size + columns) * padded; }
  int64_t scratch() const { return kQueries * (kKeys * 3 / 2 + columns + 2) * static_cast<int64_t>(sizeof(float)); }
  int64_t block(int64_t first) const { return std::min(kKeys, round_up(keys - first, kTogether<T>)); }

  void pack(T* to, const T* k, int64_t k_row, const T* v, int64_t v_row) const {
    std::fill_n(to, packed(), T(0));
    constexpr int64_t together = kTogether<T>;
    for (int64_t m = 0; m < keys; ++m) {
      const int64_t first = m / kKeys * kKeys, n = block(first);
      T* const key = to + first * size + (m - first) * together;
      for (int64_t i = 0; i < size; ++i) key[i / together * n * together + i % together] = k[m * k_row + i];
      T* const value = to + size * padded + m / together * columns * together + m % together;
      for (int64_t i = 0; i < size; ++i) value[i * together] = v[m * v_row + i];
    }
  }

  void attend(const T* packed, const T* q, int64_t q_row, int64_t n, T* out, int64_t out_row, float scale,
              void* scratch) const {
    for (int64_t first = 0; first < n; first += kQueries) {
      attend_block(packed, q + first * q_row, q_row, std::min(kQueries, n - first), out + first * out_row, out_row,
                   scale, static_cast<float*>(scratch));
    }
  }

 private:
  void attend_block(const T* packed, const T* q, int64_t q_row, int64_t n, T* out, int64_t out_row, float scale,
                    float* scores) const {
    const auto& kernels = row_kernels();
    constexpr Dtype dtype = std::is_same_v<T, float> ? Dtype::kFloat32 : Dtype::kBFloat16;
    float* const mixed = scores + kQueries * kKeys;
    float* const running_max = mixed + kQueries * columns;
    float* const sum = running_max + kQueries;
    T* const weights = reinterpret_cast<T*>(std::is_same_v<T, float> ? scores : sum + kQueries);
    std::fill_n(mixed, n * columns, 0.0f);
    std::fill_n(running_max, n, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, n, 0.0f);
    for (int64_t m = 0; m < keys; m += kKeys) {
      const int64_t width = block(m);
      brgemm<T>(n, width, size, q, q_row, packed + m * size, scores, kKeys, false);
      kernels.softmax(weights, scores, dtype, n, std::min(kKeys, keys - m), kKeys, scale, running_max, sum, mixed,
                      columns);
      brgemm<T>(n, columns, width, weights, kKeys, packed + size * padded + m * columns, mixed, columns, true);
    }
    for (int64_t row = 0; row < n; ++row) {
      const float inverse = 1 / sum[row];
      for (int64_t i = 0; i < size; ++i) out[row * out_row + i] = static_cast<T>(mixed[row * columns + i] * inverse);
    }
  }
};

// Whether to use AMX. The variables that limit the instructions of LibTorch and oneDNN limit ours too.
bool has_amx() {
#ifdef DIFFMINE_AMX
  static const bool usable = [] {
    const char* const isa = std::getenv("ONEDNN_MAX_CPU_ISA");
    const bool allowed = !isa || std::string(isa).find("AMX") != std::string::npos || std::string(isa) == "ALL" ||
                         std::string(isa) == "DEFAULT";
    return allowed && at::get_cpu_capability().find("AVX512") != std::string::npos && at::cpu::init_amx();
  }();
  return usable;
#else
  return false;
#endif
}

// T: how the head's functions take the tensors' values.
template <class T, class Head>
void run(const Head& head, const at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t heads = q.size(1), queries = q.size(2), all = q.size(0) * heads, threads = at::get_num_threads();
  if (all * queries == 0) return;
  // Threads take whole heads if those divide evenly, otherwise parts of heads, at least eight parts each. The split
  // changes no result.
  const int64_t wanted = all % threads == 0 ? 1 : (8 * threads + all - 1) / all;
  const int64_t part = round_up((queries + wanted - 1) / wanted, kMinQueries), parts = (queries + part - 1) / part;
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head.size)));
  const auto of = [&](void* data, const at::Tensor& x, int64_t i) {
    return static_cast<T*>(data) + i / heads * x.stride(0) + i % heads * x.stride(1);
  };
  const auto read = [&](const at::Tensor& x, int64_t i) { return of(const_cast<void*>(x.const_data_ptr()), x, i); };
  void* const to = out.mutable_data_ptr();
  at::parallel_for(0, all * parts, 1, [&](int64_t begin, int64_t end) {
    [[maybe_unused]] const typename Head::Scope scope;
    const int64_t packed_bytes = round_up(head.packed() * static_cast<int64_t>(sizeof(T)), 64);
    const auto memory = c10::GetCPUAllocator()->allocate(packed_bytes + head.scratch());
    T* const packed = static_cast<T*>(memory.get());
    void* const scratch = static_cast<char*>(memory.get()) + packed_bytes;
    int64_t held = -1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i / parts, first = i % parts * part;
      if (at != held) head.pack(packed, read(k, at), k.stride(2), read(v, at), v.stride(2));
      held = at;
      head.attend(packed, read(q, at) + first * q.stride(2), q.stride(2), std::min(part, queries - first),
                  of(to, out, at) + first * out.stride(2), out.stride(2), scale, scratch);
    }
  });
}

}  // namespace

bool has_attention_cpu(at::ScalarType dtype) {
  return (dtype == at::kFloat && has_brgemm<float>()) ||
         (dtype == at::kBFloat16 && (has_amx() || has_brgemm<at::BFloat16>()));
}

at::Tensor attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto out = at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2);
  const int64_t keys = k.size(2), size = q.size(3);
  if (q.scalar_type() == at::kFloat) {
    run<float>(BrgemmHead<float>{keys, size}, out, q, k, v);
#ifdef DIFFMINE_AMX
  } else if (has_amx()) {
    run<uint16_t>(AmxHead{keys, size}, out, q, k, v);
#endif
  } else {
    run<at::BFloat16>(BrgemmHead<at::BFloat16>{keys, size}, out, q, k, v);
  }
  return out;
}

}  // namespace diffmine
