// See attention_amx.h. This file is compiled for AMX (cmake/simd.cmake). It includes nothing but intrinsics: an inline
// function of a common header would be emitted with instructions that another machine does not have, and the linker
// might keep that copy.
#include "kernels/attention_amx.h"

#ifdef DIFFMINE_AMX
#include <immintrin.h>

namespace diffmine {
namespace {

constexpr int64_t kQueries = 32;  // queries of a block, two tiles
constexpr int64_t kKeys = 512;    // keys of a block
constexpr int64_t kScoreRow =
    kKeys + 16;  // floats; a power of two would put the rows of a tile into the same sets of the cache
constexpr int64_t kTile = 16 * 32;  // bf16 values
constexpr float kSlack = 8;         // see softmax()

__mmask32 first32(int64_t n) { return n >= 32 ? ~0u : n <= 0 ? 0u : (1u << n) - 1; }
__mmask16 first16(int64_t n) { return static_cast<__mmask16>(first32(n < 16 ? n : 16)); }

// Working memory of attend(). Every part starts at a multiple of 64 bytes.
struct Scratch {
  uint16_t* q;    // [32, steps * 32], zero-padded
  float* scores;  // [32, kScoreRow]; softmax() writes the weights (bf16) over the first half of each row
  float* mixed;   // [32, columns * 16]: weights times values so far
  float* sums;    // [32, 16]: sum of the weights so far, by lane
  float* base;    // [32]: see softmax()
};

// 16 rows of 16 bf16 pairs, transposed: row p of `to` holds pair p of every row.
void transpose(uint16_t* to, __m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {  // r[4 a + i], lane b: rows 4 a ... 4 a + 3 of pair 4 b + i
    const __m512i low = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), high = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    const __m512i low2 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88),
                  high2 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    _mm512_store_si512(to + i * 32, _mm512_shuffle_i32x4(low, low2, 0x88));
    _mm512_store_si512(to + (4 + i) * 32, _mm512_shuffle_i32x4(high, high2, 0x88));
    _mm512_store_si512(to + (8 + i) * 32, _mm512_shuffle_i32x4(low, low2, 0xdd));
    _mm512_store_si512(to + (12 + i) * 32, _mm512_shuffle_i32x4(high, high2, 0xdd));
  }
}

// The compiler does not know that loads of tiles read memory: it must not move earlier writes behind them.
inline void written() { __asm__ volatile("" ::: "memory"); }

// scores [32, keys] = queries times a block of packed keys.
void multiply_keys(const Scratch& s, const uint16_t* packed, int64_t keys, int64_t steps) {
  const int64_t q_row = steps * 64;  // bytes
  written();
  for (int64_t first = 0; first < keys; first += 32, packed += 2 * steps * kTile) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps; ++step) {
      _tile_loadd(4, s.q + step * 32, q_row);
      _tile_loadd(6, packed + step * kTile, 64);
      _tile_loadd(7, packed + (steps + step) * kTile, 64);
      _tile_loadd(5, s.q + 16 * steps * 32 + step * 32, q_row);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* const to = s.scores + first;
    _tile_stored(0, to, kScoreRow * 4);
    _tile_stored(1, to + 16, kScoreRow * 4);
    _tile_stored(2, to + 16 * kScoreRow, kScoreRow * 4);
    _tile_stored(3, to + 16 * kScoreRow + 16, kScoreRow * 4);
  }
}

// The same for heads of at most 32 kSteps channels, whose queries stay in tiles 4 to 7: loading tiles costs as much as
// multiplying them.
template <int kSteps>
void multiply_keys_by(const Scratch& s, const uint16_t* packed, int64_t keys) {
  written();
  _tile_loadd(4, s.q, kSteps * 64);
  _tile_loadd(5, s.q + 16 * kSteps * 32, kSteps * 64);
  if constexpr (kSteps > 1) {
    _tile_loadd(6, s.q + 32, kSteps * 64);
    _tile_loadd(7, s.q + 16 * kSteps * 32 + 32, kSteps * 64);
  }
  for (int64_t first = 0; first < keys; first += 16, packed += kSteps * kTile) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(2, packed, 64);
    _tile_dpbf16ps(0, 4, 2);
    _tile_dpbf16ps(1, 5, 2);
    if constexpr (kSteps > 1) {
      _tile_loadd(3, packed + kTile, 64);
      _tile_dpbf16ps(0, 6, 3);
      _tile_dpbf16ps(1, 7, 3);
    }
    _tile_stored(0, s.scores + first, kScoreRow * 4);
    _tile_stored(1, s.scores + 16 * kScoreRow + first, kScoreRow * 4);
  }
}

// 2^x with a relative error below 8e-5, 1/25 of bf16's rounding.
inline __m512 power_of_two(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // x - floor(x)
  __m512 p = _mm512_fmadd_ps(f, _mm512_set1_ps(0.0780245364f), _mm512_set1_ps(0.2260672003f));
  p = _mm512_fmadd_ps(f, p, _mm512_set1_ps(0.6958335042f));
  p = _mm512_fmadd_ps(f, p, _mm512_set1_ps(0.9999252558f));
  return _mm512_scalef_ps(p, x);
}

// Weights 2^(score * factor - base) of a block of `keys` keys; those after the first `real` are padding. The base of a
// row is the largest score * factor of its first block. It changes only when a later score exceeds it by more than
// kSlack: floating-point weights are as precise above 1 as below, and `mixed` rarely has to be rescaled.
void softmax(const Scratch& s, int64_t keys, int64_t real, float factor, bool first, int64_t columns) {
  const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
  const int64_t whole = real / 32 * 32;
  const __mmask16 low = first16(real - whole), high = first16(real - whole - 16);
  for (int64_t row = 0; row < kQueries; ++row) {
    float* const scores = s.scores + row * kScoreRow;
    __m512 top[4] = {lowest, lowest, lowest, lowest};
    int64_t i = 0;
    for (; i + 64 <= whole; i += 64) {
      for (int k = 0; k < 4; ++k) top[k] = _mm512_max_ps(top[k], _mm512_load_ps(scores + i + 16 * k));
    }
    if (i < whole) {
      top[0] = _mm512_max_ps(top[0], _mm512_load_ps(scores + i));
      top[1] = _mm512_max_ps(top[1], _mm512_load_ps(scores + i + 16));
    }
    if (whole < keys) {
      top[2] = _mm512_mask_max_ps(top[2], low, top[2], _mm512_load_ps(scores + whole));
      top[3] = _mm512_mask_max_ps(top[3], high, top[3], _mm512_load_ps(scores + whole + 16));
    }
    const float largest =
        factor * _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(top[0], top[1]), _mm512_max_ps(top[2], top[3])));
    __m512 sum = _mm512_load_ps(s.sums + row * 16);
    if (first) {
      s.base[row] = largest;
      sum = _mm512_setzero_ps();
    } else if (largest > s.base[row] + kSlack) {
      const __m512 shrink = power_of_two(_mm512_set1_ps(s.base[row] - largest));
      s.base[row] = largest;
      sum = _mm512_mul_ps(sum, shrink);
      float* const mixed = s.mixed + row * columns * 16;
      for (int64_t c = 0; c < columns * 16; c += 16)
        _mm512_store_ps(mixed + c, _mm512_mul_ps(_mm512_load_ps(mixed + c), shrink));
    }
    const __m512 f = _mm512_set1_ps(factor), base = _mm512_set1_ps(s.base[row]);
    uint16_t* const weights = reinterpret_cast<uint16_t*>(scores);
    __m512 sum2 = _mm512_setzero_ps();
    for (i = 0; i < whole; i += 32) {
      const __m512 a = power_of_two(_mm512_fmsub_ps(_mm512_load_ps(scores + i), f, base));
      const __m512 b = power_of_two(_mm512_fmsub_ps(_mm512_load_ps(scores + i + 16), f, base));
      _mm512_store_si512(weights + i, (__m512i)_mm512_cvtne2ps_pbh(b, a));
      sum = _mm512_add_ps(sum, a);
      sum2 = _mm512_add_ps(sum2, b);
    }
    if (whole < keys) {
      const __m512 a = _mm512_maskz_mov_ps(low, power_of_two(_mm512_fmsub_ps(_mm512_load_ps(scores + whole), f, base)));
      const __m512 b =
          _mm512_maskz_mov_ps(high, power_of_two(_mm512_fmsub_ps(_mm512_load_ps(scores + whole + 16), f, base)));
      _mm512_store_si512(weights + whole, (__m512i)_mm512_cvtne2ps_pbh(b, a));
      sum = _mm512_add_ps(sum, a);
      sum2 = _mm512_add_ps(sum2, b);
    }
    _mm512_store_ps(s.sums + row * 16, _mm512_add_ps(sum, sum2));
  }
}

// mixed [32, 16 kWidth] (+)= weights [32, keys] * values. Tiles 0 to 2 hold the sums of the upper 16 rows, 3 to 5 those
// of the lower.
template <int kWidth>
void multiply_values(const Scratch& s, float* mixed, int64_t mixed_row, const uint16_t* packed, int64_t columns,
                     int64_t keys, bool first) {
  float* const below = mixed + 16 * mixed_row;
  const int64_t bytes = mixed_row * 4;
  written();
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
  } else {
    _tile_loadd(0, mixed, bytes);
    _tile_loadd(3, below, bytes);
    if constexpr (kWidth > 1) {
      _tile_loadd(1, mixed + 16, bytes);
      _tile_loadd(4, below + 16, bytes);
    }
    if constexpr (kWidth > 2) {
      _tile_loadd(2, mixed + 32, bytes);
      _tile_loadd(5, below + 32, bytes);
    }
  }
  for (int64_t k = 0; k < keys; k += 32, packed += columns * kTile) {
    const uint16_t* const weights = reinterpret_cast<const uint16_t*>(s.scores) + k;
    _tile_loadd(6, weights, kScoreRow * 4);
    _tile_loadd(7, packed, 64);
    _tile_dpbf16ps(0, 6, 7);
    if constexpr (kWidth > 1) {
      _tile_loadd(7, packed + kTile, 64);
      _tile_dpbf16ps(1, 6, 7);
    }
    if constexpr (kWidth > 2) {
      _tile_loadd(7, packed + 2 * kTile, 64);
      _tile_dpbf16ps(2, 6, 7);
    }
    _tile_loadd(6, weights + 16 * kScoreRow * 2, kScoreRow * 4);
    if constexpr (kWidth > 2) {
      _tile_dpbf16ps(5, 6, 7);
      _tile_loadd(7, packed + kTile, 64);
    }
    if constexpr (kWidth > 1) {
      _tile_dpbf16ps(4, 6, 7);
      _tile_loadd(7, packed, 64);
    }
    _tile_dpbf16ps(3, 6, 7);
  }
  _tile_stored(0, mixed, bytes);
  _tile_stored(3, below, bytes);
  if constexpr (kWidth > 1) {
    _tile_stored(1, mixed + 16, bytes);
    _tile_stored(4, below + 16, bytes);
  }
  if constexpr (kWidth > 2) {
    _tile_stored(2, mixed + 32, bytes);
    _tile_stored(5, below + 32, bytes);
  }
}

void multiply_values(const Scratch& s, const uint16_t* packed, int64_t columns, int64_t keys, bool first) {
  const int64_t row = columns * 16;
  for (int64_t c = 0; c < columns;) {
    const int64_t left = columns - c;
    float* const mixed = s.mixed + c * 16;
    const uint16_t* const from = packed + c * kTile;
    if (left == 3) {
      multiply_values<3>(s, mixed, row, from, columns, keys, first);
      c += 3;
    } else if (left >= 2) {
      multiply_values<2>(s, mixed, row, from, columns, keys, first);
      c += 2;
    } else {
      multiply_values<1>(s, mixed, row, from, columns, keys, first);
      c += 1;
    }
  }
}

}  // namespace

int64_t AmxHead::scratch() const { return kQueries * (steps() * 64 + kScoreRow * 4 + columns() * 64 + 64 + 4); }

void AmxHead::pack(uint16_t* to, const uint16_t* k, int64_t k_row, const uint16_t* v, int64_t v_row) const {
  for (int64_t first = 0; first < key_blocks() * 32; first += 16) {
    for (int64_t step = 0; step < steps(); ++step, to += kTile) {
      const __mmask32 mask = first32(size - step * 32);
      __m512i rows[16];
      for (int64_t i = 0; i < 16; ++i) {
        rows[i] = first + i < keys ? _mm512_maskz_loadu_epi16(mask, k + (first + i) * k_row + step * 32)
                                   : _mm512_setzero_si512();
      }
      transpose(to, rows);
    }
  }
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                       5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t first = 0; first < key_blocks() * 32; first += 32, to += columns() * kTile) {
    for (int64_t pair = 0; pair < 16; ++pair) {
      const int64_t key = first + 2 * pair;
      for (int64_t c = 0; c < columns(); c += 2) {
        const __mmask32 mask = first32(size - c * 16);
        const __m512i a =
            key < keys ? _mm512_maskz_loadu_epi16(mask, v + key * v_row + c * 16) : _mm512_setzero_si512();
        const __m512i b =
            key + 1 < keys ? _mm512_maskz_loadu_epi16(mask, v + (key + 1) * v_row + c * 16) : _mm512_setzero_si512();
        _mm512_store_si512(to + c * kTile + pair * 32, _mm512_permutex2var_epi16(a, low, b));
        if (c + 1 < columns())
          _mm512_store_si512(to + (c + 1) * kTile + pair * 32, _mm512_permutex2var_epi16(a, high, b));
      }
    }
  }
}

void AmxHead::attend(const uint16_t* packed, const uint16_t* q, int64_t q_row, int64_t n, uint16_t* out,
                     int64_t out_row, float scale, void* scratch) const {
  const int64_t width = steps() * 32, padded = key_blocks() * 32;
  const uint16_t* const values = packed + padded * width;
  Scratch s;
  s.scores = static_cast<float*>(scratch);
  s.mixed = s.scores + kQueries * kScoreRow;
  s.sums = s.mixed + kQueries * columns() * 16;
  s.base = s.sums + kQueries * 16;
  s.q = reinterpret_cast<uint16_t*>(s.base + kQueries);
  const float factor = scale * 1.44269504f;  // e^x = 2^(x log2 e)
  for (int64_t from = 0; from < n; from += kQueries) {
    const int64_t rows = n - from < kQueries ? n - from : kQueries;
    for (int64_t row = 0; row < kQueries; ++row) {
      for (int64_t c = 0; c < width; c += 32) {
        const __mmask32 mask = row < rows ? first32(size - c) : 0;
        _mm512_store_si512(s.q + row * width + c, _mm512_maskz_loadu_epi16(mask, q + (from + row) * q_row + c));
      }
    }
    for (int64_t m = 0; m < padded; m += kKeys) {
      const int64_t block = padded - m < kKeys ? padded - m : kKeys, real = keys - m < block ? keys - m : block;
      if (steps() == 1) {
        multiply_keys_by<1>(s, packed + m * width, block);
      } else if (steps() == 2) {
        multiply_keys_by<2>(s, packed + m * width, block);
      } else {
        multiply_keys(s, packed + m * width, block, steps());
      }
      softmax(s, block, real, factor, m == 0, columns());
      multiply_values(s, values + m * columns() * 16, columns(), block, m == 0);
    }
    for (int64_t row = 0; row < rows; ++row) {
      const __m512 inverse = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(_mm512_load_ps(s.sums + row * 16)));
      for (int64_t c = 0; c < columns(); ++c) {
        const __m256i y =
            (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_load_ps(s.mixed + (row * columns() + c) * 16), inverse));
        _mm256_mask_storeu_epi16(out + (from + row) * out_row + c * 16, first16(size - c * 16), y);
      }
    }
  }
}

// What ldtilecfg reads: palette 1, eight tiles of 16 rows of 64 bytes.
alignas(64) static const uint8_t kTiles[64] = {1, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0,  0,  0,  0,  0,  0,  64, 0, 64,
                                               0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0,  64, 0,  0,  0,  0,  0,  0, 0,
                                               0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  16, 16, 16, 16, 16, 16, 16, 16};

AmxTiles::AmxTiles() { _tile_loadconfig(kTiles); }

AmxTiles::~AmxTiles() { _tile_release(); }

}  // namespace diffmine
#endif
