// Patch selection: one block a map and end of it. Each round every thread finds the best of its share that overlaps no
// patch chosen so far, then the block reduces to one (value, place), the lower place winning ties. A map of 449 x 449
// is read five times, from the L2 cache: some tenths of a millisecond beside the hundreds that its image's denoising
// takes.
#include "kernels/launch.cuh"
#include "kernels/select.h"

namespace diffmine {
namespace {

constexpr int kSelectThreads = 1024;

struct Best {
  float value;
  int place;  // -1: none
};

__device__ Best better(Best a, Best b) {
  if (a.place < 0) return b;
  if (b.place < 0) return a;
  return a.value > b.value || (a.value == b.value && a.place < b.place) ? a : b;
}

// The best of a warp, in every lane.
__device__ Best best_of_warp(Best best) {
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    best = better(best,
                  {__shfl_xor_sync(0xffffffffu, best.value, lanes), __shfl_xor_sync(0xffffffffu, best.place, lanes)});
  }
  return best;
}

// chosen [n] of (row, column)
__device__ bool free_of(const int2* chosen, int64_t n, int place, int columns, int64_t patch) {
  const int row = place / columns, column = place % columns;
  for (int64_t i = 0; i < n; ++i) {
    if (abs(row - chosen[i].x) <= patch && abs(column - chosen[i].y) <= patch) return false;
  }
  return true;
}

// Blocks (map, 0) pick the highest of sign * scores into `first`, blocks (map, 1) the lowest into `second`.
__global__ void __launch_bounds__(kSelectThreads)
    select_patches(const float* __restrict__ scores, int places, int columns, int64_t patch, int64_t count, float sign,
                   int64_t* first, int64_t* second) {
  auto* chosen = dynamic_shared<int2>();  // [count]
  __shared__ Best bests[kSelectThreads / 32];
  const float* score = scores + blockIdx.x * static_cast<int64_t>(places);
  int64_t* picks = (blockIdx.y == 0 ? first : second) + blockIdx.x * count;
  if (blockIdx.y == 1) sign = -sign;
  int64_t n = 0;  // the same in every thread
  for (int64_t round = 0; round < count; ++round) {
    Best best{0, -1};
    if (n == round) {  // once none was found none is later
#pragma unroll 4
      for (int i = threadIdx.x; i < places; i += kSelectThreads) {
        const float value = sign * score[i];
        if (value == value && (best.place < 0 || value > best.value) && free_of(chosen, n, i, columns, patch))
          best = {value, i};
      }
    }
    best = best_of_warp(best);
    if (threadIdx.x % 32 == 0) bests[threadIdx.x / 32] = best;
    __syncthreads();
    best = best_of_warp(bests[threadIdx.x % 32]);  // every warp for itself: 32 of them
    if (best.place >= 0) ++n;
    if (threadIdx.x == 0) {
      picks[round] = best.place;
      if (best.place >= 0) chosen[round] = {best.place / columns, best.place % columns};
    }
    __syncthreads();  // the pick is read by all, and bests is written again
  }
}

void select(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count, float sign,
            int64_t* first, int64_t* second, void* cuda_stream) {
  if (maps * count == 0) return;
  check_size(rows * columns <= INT32_MAX - kSelectThreads && maps <= INT32_MAX &&
                 sizeof(int2) * count <= kMaxShared - (1 << 10),
             "select_patches");
  const dim3 blocks(static_cast<unsigned>(maps), second ? 2 : 1);
  launch("select_patches", select_patches, {blocks, kSelectThreads, sizeof(int2) * count}, cuda_stream, scores,
         static_cast<int>(rows * columns), static_cast<int>(columns), patch, count, sign, first, second);
}

}  // namespace

void launch_select_patches(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch,
                           int64_t count, bool ascending, int64_t* picks, void* cuda_stream) {
  select(scores, maps, rows, columns, patch, count, ascending ? -1.0f : 1.0f, picks, nullptr, cuda_stream);
}

void launch_select_extremes(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch,
                            int64_t count, int64_t* top, int64_t* bottom, void* cuda_stream) {
  select(scores, maps, rows, columns, patch, count, 1.0f, top, bottom, cuda_stream);
}

}  // namespace diffmine
