// Greedy choice of non-overlapping patches: the best, then the best that does not overlap it, and so on.
#pragma once
#include <cstdint>

namespace diffmine {

// scores [maps, rows, columns] -> picks [maps, count]: row * columns + column, or -1 where no room was left. Two
// patches overlap where |row - row'| <= patch and |column - column'| <= patch: half-open boxes that touch are rejected.
// Ties: the first in row-major order. NaN is never chosen.
void launch_select_patches(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch,
                           int64_t count, bool ascending, int64_t* picks, void* cuda_stream);
void select_patches_cpu(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count,
                        bool ascending, int64_t* picks, void* cuda_stream = nullptr);

// Both ends in one launch: top and bottom [maps, count], each as above.
void launch_select_extremes(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch,
                            int64_t count, int64_t* top, int64_t* bottom, void* cuda_stream);
void select_extremes_cpu(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count,
                         int64_t* top, int64_t* bottom, void* cuda_stream = nullptr);

}  // namespace diffmine
