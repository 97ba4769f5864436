// CPU implementation of select.cu: a mask of what may still be chosen in place of tests against the chosen.
#include "kernels/select.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace diffmine {

void select_patches_cpu(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count,
                        bool ascending, int64_t* picks, void*) {
  at::parallel_for(0, maps, 1, [&](int64_t begin, int64_t end) {
    std::vector<char> taken;
    for (int64_t map = begin; map < end; ++map) {
      const float* score = scores + map * rows * columns;
      taken.assign(rows * columns, 0);
      for (int64_t pick = 0; pick < count; ++pick) {
        int64_t best = -1;
        float best_value = 0;
        for (int64_t i = 0; i < rows * columns; ++i) {
          const float value = ascending ? -score[i] : score[i];
          if (taken[i] || !(value == value)) continue;
          if (best < 0 || value > best_value) best = i, best_value = value;
        }
        if (best < 0) {  // no room is left, nor will there be
          std::fill(picks + map * count + pick, picks + (map + 1) * count, int64_t{-1});
          break;
        }
        picks[map * count + pick] = best;
        const int64_t row = best / columns, column = best % columns;
        const int64_t left = std::max<int64_t>(0, column - patch), right = std::min(columns, column + patch + 1);
        for (int64_t r = std::max<int64_t>(0, row - patch); r < std::min(rows, row + patch + 1); ++r) {
          std::fill(taken.begin() + r * columns + left, taken.begin() + r * columns + right, 1);
        }
      }
    }
  });
}

void select_extremes_cpu(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count,
                         int64_t* top, int64_t* bottom, void*) {
  select_patches_cpu(scores, maps, rows, columns, patch, count, false, top);
  select_patches_cpu(scores, maps, rows, columns, patch, count, true, bottom);
}

}  // namespace diffmine
