// See rows.h. This file is compiled several times with different instruction sets: it takes in nothing but vector
// types, so that no inline function of a common header is emitted with instructions that another machine does not have.
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>

#include "kernels/rows.h"

#ifndef DIFFMINE_KERNELS
#define DIFFMINE_KERNELS rows_kernels_default
#endif

namespace diffmine {
namespace {

using Vector = at::vec::Vectorized<float>;
constexpr int64_t kOne = Vector::size();
constexpr int64_t kWidth = 2 * kOne;  // a vector of halves is two of floats: all loops go by two

struct Two {
  Vector low, high;
};

template <class F>
Two each(const Two& a, F f) {
  return {f(a.low), f(a.high)};
}
template <class F>
Two each(const Two& a, const Two& b, F f) {
  return {f(a.low, b.low), f(a.high, b.high)};
}
Two operator+(const Two& a, const Two& b) { return {a.low + b.low, a.high + b.high}; }
Two operator-(const Two& a, const Two& b) { return {a.low - b.low, a.high - b.high}; }
Two operator*(const Two& a, const Two& b) { return {a.low * b.low, a.high * b.high}; }
Two multiply_add(const Two& a, const Two& b, const Two& c) {
  return {at::vec::fmadd(a.low, b.low, c.low), at::vec::fmadd(a.high, b.high, c.high)};
}
Two all(float value) { return {Vector(value), Vector(value)}; }

auto to_floats(const at::vec::Vectorized<c10::Half>& x) { return at::vec::convert_half_float(x); }
auto to_floats(const at::vec::Vectorized<c10::BFloat16>& x) { return at::vec::convert_bfloat16_float(x); }

// `count` values from p on, zeros after them.
template <class T>
Two load(const T* p, int64_t count = kWidth) {
  if constexpr (std::is_same_v<T, float>) {
    if (count >= kWidth) return {Vector::loadu(p), Vector::loadu(p + kOne)};
    if (count <= kOne) return {Vector::loadu(p, count), Vector(0.0f)};
    return {Vector::loadu(p), Vector::loadu(p + kOne, count - kOne)};
  } else {
    const auto halves = count >= kWidth ? at::vec::Vectorized<T>::loadu(p) : at::vec::Vectorized<T>::loadu(p, count);
    const auto [low, high] = to_floats(halves);
    return {low, high};
  }
}

template <class T>
void store(T* p, const Two& x, int64_t count = kWidth) {
  if constexpr (std::is_same_v<T, float>) {
    x.low.store(p, std::min(count, kOne));
    if (count > kOne) x.high.store(p + kOne, std::min(count - kOne, kOne));
  } else {
    if constexpr (std::is_same_v<T, c10::Half>)
      at::vec::convert_float_half(x.low, x.high).store(p, std::min(count, kWidth));
    else at::vec::convert_float_bfloat16(x.low, x.high).store(p, std::min(count, kWidth));
  }
}

// f(i, count) over 0 ... c - 1 in steps of a vector; the last may be cut. Both calls are inlined, the first without
// tests of count.
template <class F>
inline __attribute__((always_inline)) void by_vector(int64_t c, F f) {
  int64_t i = 0;
  for (; i + kWidth <= c; i += kWidth) f(i, kWidth);
  if (i < c) f(i, c - i);
}

float total(const Two& x) {
  float parts[kOne], sum = 0;
  (x.low + x.high).store(parts);
  for (const float part : parts) sum += part;
  return sum;
}

// For halves an exponential that is wrong by up to 1e-6 is exact enough, and half the work.
template <class T>
inline __attribute__((always_inline)) Vector exponential(const Vector& x) {
  if constexpr (std::is_same_v<T, float>) return x.exp();
  else return x.exp_u20();
}

template <class T>
inline __attribute__((always_inline)) Vector silu(const Vector& x) {
  return x / (Vector(1.0f) + exponential<T>(x.neg()));
}

// x (1 + erf(x / sqrt 2)) / 2; for halves erf after Abramowitz and Stegun 7.1.26, which vector types use for fp32 too.
template <class T>
inline __attribute__((always_inline)) Vector gelu(const Vector& x) {
  const Vector half = x * Vector(0.5f), z = x * Vector(0.70710678118654752f), one(1.0f);
  if constexpr (std::is_same_v<T, float>) return half * (one + z.erf());
  const Vector magnitude = z.abs(), t = one / at::vec::fmadd(magnitude, Vector(0.3275911f), one);
  auto p = at::vec::fmadd(t, Vector(1.061405429f), Vector(-1.453152027f));
  for (const float coefficient : {1.421413741f, -0.284496736f, 0.254829592f})
    p = at::vec::fmadd(p, t, Vector(coefficient));
  return at::vec::fmadd(half.abs(), one - p * t * exponential<T>((z * z).neg()), half);  // x erf(z) is even
}

template <class T>
void sums(const T* x, int64_t n, int64_t c, float* pivot, float* sum, float* square) {
  by_vector(c, [&](int64_t i, int64_t count) {
    Two first = load(x + i, count);
    if (n >= 4)
      first = (first + load(x + c + i, count) + load(x + 2 * c + i, count) + load(x + 3 * c + i, count)) * all(0.25f);
    store(pivot + i, first, count);
    store(sum + i, all(0), count);
    store(square + i, all(0), count);
  });
  // Four rows between two loads of the sums.
  const auto add = [&](const T* rows, auto how_many) {
    by_vector(c, [&](int64_t i, int64_t count) {
      const Two from = load(pivot + i, count);
      Two s = load(sum + i, count), q = load(square + i, count);
      for (int64_t r = 0; r < decltype(how_many)::value; ++r) {
        const Two d = load(rows + r * c + i, count) - from;
        s = s + d, q = multiply_add(d, d, q);
      }
      store(sum + i, s, count), store(square + i, q, count);
    });
  };
  int64_t row = 0;
  for (; row + 4 <= n; row += 4) add(x + row * c, std::integral_constant<int64_t, 4>{});
  for (; row < n; ++row) add(x + row * c, std::integral_constant<int64_t, 1>{});
}

template <class T>
void affine(T* out, int64_t out_row, const T* x, int64_t n, int64_t c, const float* mean, const float* scale,
            const float* shift, bool with_silu) {
  const auto rows = [&](auto then) {
    for (int64_t row = 0; row < n; ++row, x += c, out += out_row) {
      by_vector(c, [&](int64_t i, int64_t count) {
        const Two d = load(x + i, count) - load(mean + i, count);
        store(out + i, each(multiply_add(d, load(scale + i, count), load(shift + i, count)), then), count);
      });
    }
  };
  if (with_silu) rows(silu<T>);
  else rows([](const Vector& y) { return y; });
}

template <bool kAdd, class T>
void layer_norm(T* out, const T* x, int64_t n, int64_t c, const float* weight, const float* bias, const float* add,
                float eps) {
  const float inverse = 1.0f / static_cast<float>(c);
  const auto value = [&](int64_t i, int64_t count) {
    if constexpr (kAdd) return load(x + i, count) + load(add + i, count);
    else return load(x + i, count);
  };
  for (int64_t row = 0; row < n; ++row, x += c, out += c) {
    Two sum = all(0), square = all(0);
    by_vector(c, [&](int64_t i, int64_t count) { sum = sum + value(i, count); });
    const float mean = total(sum) * inverse;
    by_vector(c, [&](int64_t i, int64_t count) {
      Two d = value(i, count) - all(mean);
      if (count < kWidth) {  // what pads the last vector counts for nothing
        float first[kWidth];
        store(first, d);
        d = load(first, count);
      }
      square = multiply_add(d, d, square);
    });
    const float r = 1.0f / std::sqrt(total(square) * inverse + eps);
    by_vector(c, [&](int64_t i, int64_t count) {
      const Two y = (value(i, count) - all(mean)) * all(r);
      store(out + i, multiply_add(y, load(weight + i, count), load(bias + i, count)), count);
    });
  }
}

template <class T>
void geglu(T* out, const T* x, int64_t n, int64_t c) {
  for (int64_t row = 0; row < n; ++row, x += 2 * c, out += c) {
    by_vector(c, [&](int64_t i, int64_t count) {
      store(out + i, load(x + i, count) * each(load(x + c + i, count), gelu<T>), count);
    });
  }
}

template <class T>
void add(T* x, const T* residual, const float* v, int64_t n, int64_t c) {
  for (int64_t row = 0; row < n; ++row, x += c) {
    by_vector(c, [&](int64_t i, int64_t count) {
      Two y = load(x + i, count);
      if (residual) y = y + load(residual + row * c + i, count);
      if (v) y = y + load(v + i, count);
      store(x + i, y, count);
    });
  }
}

// For the softmax, whose scores are finite: without at::vec::maximum's care for NaN, which reaches the weights anyway.
inline Vector larger(const Vector& a, const Vector& b) {
#if defined(CPU_CAPABILITY_AVX512)
  return _mm512_max_ps(a, b);
#elif defined(CPU_CAPABILITY_AVX2)
  return _mm256_max_ps(a, b);
#else
  return at::vec::maximum(a, b);
#endif
}

// The softmax's exponential of x <= 0, and its base: 2^x where instructions split x into integer and fraction,
// otherwise e^x. Relative errors are below 2e-7 for fp32; below 8e-5 for halves, 1/25 of bf16's rounding.
#if defined(CPU_CAPABILITY_AVX512)
constexpr float kPowersOf = 1.44269504f;  // e^x = 2^(x log2 e)
inline float power(float x) { return std::exp2(x); }
template <class T>
inline __attribute__((always_inline)) Vector power(const Vector& x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // x - floor(x)
  const auto polynomial = [&](auto... coefficients) {
    __m512 p = _mm512_setzero_ps();
    ((p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(coefficients))), ...);
    return p;
  };
  if constexpr (std::is_same_v<T, float>) {
    return _mm512_scalef_ps(
        polynomial(0.0018775769f, 0.0089893406f, 0.0558263175f, 0.2401536107f, 0.6931530833f, 0.9999999404f), x);
  } else {
    return _mm512_scalef_ps(polynomial(0.0780245364f, 0.2260672003f, 0.6958335042f, 0.9999252558f), x);
  }
}
#else
constexpr float kPowersOf = 1;
inline float power(float x) { return std::exp(x); }
template <class T>
inline __attribute__((always_inline)) Vector power(const Vector& x) {
  return x.exp_u20();
}
#endif

template <class T>
void softmax(T* weights, const float* scores, int64_t n, int64_t c, int64_t stride, float scale, float* running_max,
             float* sum, float* mixed, int64_t m) {
  const float factor = scale * kPowersOf;
  for (int64_t row = 0; row < n; ++row, weights += stride, scores += stride, mixed += m) {
    Two high = all(scores[0]), high2 = high;
    int64_t whole = 0;
    for (; whole + 2 * kWidth <= c; whole += 2 * kWidth) {
      high = each(high, load(scores + whole), larger);
      high2 = each(high2, load(scores + whole + kWidth), larger);
    }
    float parts[kWidth], largest = scores[0];
    store(parts, each(high, high2, larger));
    for (const float part : parts) largest = std::max(largest, part);
    for (int64_t i = whole; i < c; ++i) largest = std::max(largest, scores[i]);
    largest = std::max(running_max[row], largest * factor);

    Two total_weight = all(0);
    by_vector(c, [&](int64_t i, int64_t count) {
      const Two s = load(scores + i, count), f = all(factor), base = all(largest);
      Two y{power<T>(at::vec::fmsub(s.low, f.low, base.low)), power<T>(at::vec::fmsub(s.high, f.high, base.high))};
      store(weights + i, y, count);
      if (count < kWidth) {
        store(parts, y);
        y = load(parts, count);
      }
      total_weight = total_weight + y;
    });
    if (c % 2 && c < stride) weights[c] = 0;
    const float shrink = power(running_max[row] - largest);
    sum[row] = sum[row] * shrink + total(total_weight);
    running_max[row] = largest;
    if (shrink != 1)
      by_vector(m, [&](int64_t i, int64_t count) { store(mixed + i, load(mixed + i, count) * all(shrink), count); });
  }
}

// f(a null pointer of the dtype's type)
template <class F>
void by_dtype(Dtype dtype, F f) {
  switch (dtype) {
    case Dtype::kFloat32: return f(static_cast<float*>(nullptr));
    case Dtype::kFloat16: return f(static_cast<c10::Half*>(nullptr));
    case Dtype::kBFloat16: return f(static_cast<c10::BFloat16*>(nullptr));
  }
}

}  // namespace

extern const RowKernels DIFFMINE_KERNELS;
const RowKernels DIFFMINE_KERNELS{
    [](const void* x, Dtype dtype, int64_t n, int64_t c, float* pivot, float* sum, float* square) {
      by_dtype(dtype, [&]<class T>(T*) { sums(static_cast<const T*>(x), n, c, pivot, sum, square); });
    },
    [](void* out, int64_t out_row, const void* x, Dtype dtype, int64_t n, int64_t c, const float* mean,
       const float* scale, const float* shift, bool silu) {
      by_dtype(dtype, [&]<class T>(T*) {
        affine(static_cast<T*>(out), out_row, static_cast<const T*>(x), n, c, mean, scale, shift, silu);
      });
    },
    [](void* out, const void* x, Dtype dtype, int64_t n, int64_t c, const float* weight, const float* bias,
       const float* add, float eps) {
      by_dtype(dtype, [&]<class T>(T*) {
        const auto run = add ? layer_norm<true, T> : layer_norm<false, T>;
        run(static_cast<T*>(out), static_cast<const T*>(x), n, c, weight, bias, add, eps);
      });
    },
    [](void* out, const void* x, Dtype dtype, int64_t n, int64_t c) {
      by_dtype(dtype, [&]<class T>(T*) { geglu(static_cast<T*>(out), static_cast<const T*>(x), n, c); });
    },
    [](void* x, const void* residual, const float* v, Dtype dtype, int64_t n, int64_t c) {
      by_dtype(dtype, [&]<class T>(T*) { add(static_cast<T*>(x), static_cast<const T*>(residual), v, n, c); });
    },
    [](void* weights, const float* scores, Dtype dtype, int64_t n, int64_t c, int64_t stride, float scale,
       float* running_max, float* sum, float* mixed, int64_t m) {
      by_dtype(dtype, [&]<class T>(T*) {
        softmax(static_cast<T*>(weights), scores, n, c, stride, scale, running_max, sum, mixed, m);
      });
    },
};

}  // namespace diffmine
