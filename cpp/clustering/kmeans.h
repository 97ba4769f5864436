// k-means (Lloyd) with k-means++ starts (Arthur and Vassilvitskii 2007), as scikit-learn's: best inertia of several
// seeded starts.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/context.h"

namespace diffmine {

struct KMeansOptions {
  int64_t clusters = 32;  // lowered to the number of distinct points, said in the result's `centers`
  int64_t restarts = 10;
  int64_t iterations = 300;
  double tolerance = 1e-4;  // relative to the mean feature variance
  uint64_t seed = 0;
};

struct KMeansResult {
  at::Tensor labels;     // [n] int64
  at::Tensor centers;    // [k, d] fp32
  at::Tensor distances;  // [n] fp32: to the own center
  double inertia = 0;    // sum of squared distances
  int64_t iterations = 0;
};

// points [n, d] fp32 on the CPU. Deterministic for a seed, whatever the number of threads.
KMeansResult kmeans(const at::Tensor& points, const KMeansOptions& options, const Context& context = {});

}  // namespace diffmine
