// Patch scores and their selection (paper section 3.2).
//
// Score of a patch = mean over a k x k pixel window of the map, upsampled bilinearly (align_corners = false) to pixels.
// Upsampling and averaging are linear and separable, so all scores are A_h · D · A_w^T, exactly.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace diffmine {

// A [pixels - patch + 1, cells] fp32: row r averages pixels r ... r + patch - 1 of a line of `cells` upsampled to
// `pixels`. Throws INVALID_ARGUMENT when patch > pixels.
at::Tensor patch_operator(int64_t cells, int64_t pixels, int64_t patch);

// maps [..., h, w] fp32 -> scores [..., H - k + 1, W - k + 1].
at::Tensor patch_scores(const at::Tensor& maps, const at::Tensor& a_h, const at::Tensor& a_w);

struct Pick {
  int64_t row, column;
  float score;
};

// The maximum number of non-overlapping patches in scores of rows x columns: no two lie in one square of (patch + 1)^2
// places.
inline int64_t max_patches(int64_t rows, int64_t columns, int64_t patch) {
  return ((rows + patch) / (patch + 1)) * ((columns + patch) / (patch + 1));
}

// Greedy: the best of `scores` [R, S], then the best not overlapping it, ... at most `count`. Overlap is inclusive:
// boxes that touch are rejected. Ties: first in row-major order. `ascending` picks the least. Fewer than `count` when
// no room is left.
std::vector<Pick> select_patches(const at::Tensor& scores, int64_t patch, int64_t count, bool ascending = false);

// `count` non-overlapping patches in a random order fixed by (seed, key): the control ranking. Scores are read from
// `scores`.
std::vector<Pick> select_random(const at::Tensor& scores, int64_t patch, int64_t count, uint64_t seed, uint64_t key);

// The places row * columns + column that select_random takes of a rows x columns score map: they depend on no score.
std::vector<int64_t> random_places(int64_t rows, int64_t columns, int64_t patch, int64_t count, uint64_t seed,
                                   uint64_t key);

// What a map on any device holds at places row * S + column; picks_at: with their rows and columns.
std::vector<float> values_at(const at::Tensor& map, const std::vector<int64_t>& places);
std::vector<Pick> picks_at(const at::Tensor& scores, const std::vector<int64_t>& places);

}  // namespace diffmine
