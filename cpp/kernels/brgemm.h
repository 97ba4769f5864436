// oneDNN's block products on a CPU, as LibTorch hands them on: small matrices from where they lie, in registers and the
// first cache.
#pragma once
#include <ATen/native/CPUBlas.h>

#include <cstdint>
#include <exception>
#include <type_traits>

namespace diffmine {

// What they multiply from the right, b [K, N]: bf16 takes two neighbors of K side by side, [K / 2, N, 2].
template <class T>
constexpr int64_t kTogether = std::is_same_v<T, float> ? 1 : 2;

// c [m, n] = a [m, k] b (+ c), rows of a and c `a_row` and `c_row` apart; b packed as above with n columns. A thread
// that is done calls at::native::cpublas::brgemm_release().
template <class T>
void brgemm(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, const T* b, float* c, int64_t c_row, bool add) {
  at::native::cpublas::brgemm(m, n, k, a_row, n, c_row, add, a, b, c, /*is_vnni=*/kTogether<T> == 2);
}

// Whether this processor has them.
template <class T>
bool has_brgemm() {
  static const bool works = [] {
    try {
      const T a[4 * 16] = {}, b[16 * 16] = {};
      float c[4 * 16];
      brgemm<T>(4, 16, 16, a, 16, b, c, 16, false);
      at::native::cpublas::brgemm_release();
      return true;
    } catch (const std::exception&) {  // it says so only by throwing: LibTorch its error, oneDNN (bf16 on AVX-512
                                       // without bf16) another
      return false;
    }
  }();
  return works;
}

}  // namespace diffmine
