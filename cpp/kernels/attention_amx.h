// Attention in bf16 on CPUs with AMX: products of 16 x 32 by 32 x 16 matrices ("tiles"), fused with a softmax in
// AVX-512.
#pragma once
#include <cstdint>

namespace diffmine {

// Configures this thread's tiles for the functions below while it lives.
class AmxTiles {
 public:
  AmxTiles();
  ~AmxTiles();
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

// One head of `keys` M and `size` d. bf16 values are passed as their bits.
struct AmxHead {
  using Scope = AmxTiles;

  int64_t keys, size;

  int64_t steps() const { return (size + 31) / 32; }       // tiles across a query or key
  int64_t key_blocks() const { return (keys + 31) / 32; }  // blocks of 32 keys
  int64_t columns() const { return (size + 15) / 16; }     // tiles across a value
  int64_t packed() const {
    return key_blocks() * 32 * (steps() * 32 + columns() * 16);
  }                         // bf16 values that pack() writes
  int64_t scratch() const;  // bytes of working memory for attend()

  // Keys k [M, d] and values v [M, d], rows k_row and v_row apart, into `to`. `to` and `scratch` are 64-byte aligned.
  void pack(uint16_t* to, const uint16_t* k, int64_t k_row, const uint16_t* v, int64_t v_row) const;
  // out [n, d] = softmax(q k^T scale) v for queries q [n, d]. Scores, softmax and sums are fp32. A row's result does
  // not depend on the other rows.
  void attend(const uint16_t* packed, const uint16_t* q, int64_t q_row, int64_t n, uint16_t* out, int64_t out_row,
              float scale, void* scratch) const;
};

}  // namespace diffmine
