// Patch selection: one block a map. Each round every thread finds the best of its share that overlaps no patch chosen so far,
// then the block reduces to one (value, place), the lower place winning ties.
#include "kernels/launch.cuh"
#include "kernels/select.h"

namespace diffmine {
namespace {

constexpr int kSelectThreads = 1024;

struct Best {
  float value;
  int64_t place;  // -1: none
};

__device__ Best better(Best a, Best b) {
  if (a.place < 0) return b;
  if (b.place < 0) return a;
  return a.value > b.value || (a.value == b.value && a.place < b.place) ? a : b;
}

__device__ bool free_of(const int64_t* chosen, int64_t n, int64_t place, int64_t columns, int64_t patch) {
  const int64_t row = place / columns, column = place % columns;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t rows_apart = row - chosen[i] / columns, columns_apart = column - chosen[i] % columns;
    if (rows_apart <= patch && rows_apart >= -patch && columns_apart <= patch && columns_apart >= -patch) return false;
  }
  return true;
}

__global__ void select_patches(const float* __restrict__ scores, int64_t rows, int64_t columns, int64_t patch, int64_t count, float sign,
                               int64_t* picks) {
  __shared__ Best bests[kSelectThreads];
  const float* score = scores + blockIdx.x * rows * columns;
  int64_t* chosen = picks + blockIdx.x * count;
  int64_t n = 0;
  for (int64_t round = 0; round < count; ++round) {
    Best best{0, -1};
    for (int64_t i = threadIdx.x; i < rows * columns; i += kSelectThreads) {
      const float value = sign * score[i];
      if (value == value && (best.place < 0 || value > best.value) && free_of(chosen, n, i, columns, patch)) best = {value, i};
    }
    bests[threadIdx.x] = best;
    __syncthreads();
    for (int half = kSelectThreads / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) bests[threadIdx.x] = better(bests[threadIdx.x], bests[threadIdx.x + half]);
      __syncthreads();
    }
    const bool found = bests[0].place >= 0;
    if (threadIdx.x == 0) chosen[round] = bests[0].place;
    __syncthreads();  // the pick is read by all, and bests is written again
    if (found) ++n;   // once none is found none is later: the chosen stay the first n
  }
}

}  // namespace

void launch_select_patches(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count, bool ascending,
                           int64_t* picks, void* cuda_stream) {
  if (maps * count == 0) return;
  select_patches<<<static_cast<unsigned>(maps), kSelectThreads, 0, static_cast<cudaStream_t>(cuda_stream)>>>(
      scores, rows, columns, patch, count, ascending ? -1.0f : 1.0f, picks);
  check_launch("select_patches");
}

}  // namespace diffmine
