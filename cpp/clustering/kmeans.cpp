// k-means as scikit-learn's: greedy k-means++ starts, Lloyd's iteration, empty clusters moved to the farthest points.
//
// Distances come from a matmul, |x|^2 - 2 x.c + |c|^2 in fp32 on centered points; sums are in double. Rows are
// worked in chunks of a fixed size and summed in a fixed order, so that the number of threads changes no bit.
#include "clustering/kmeans.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "core/stage.h"

namespace diffmine {
namespace {

constexpr int64_t kChunk = 256;        // rows
constexpr int64_t kColumns = 64;       // of a task that sums columns
constexpr int64_t kParts = 16;         // of the rows, summed apart
constexpr double kLargestNorm = 1e36;  // squared; beyond it fp32 distances overflow

struct Points {
  at::Tensor x;              // [n, d] fp32, centered
  std::vector<double> mean;  // [d], subtracted
  std::vector<float> norms;  // [n] squared
  double variance = 0;       // mean over the columns
  int64_t n = 0, d = 0;
  const float* row(int64_t i) const { return x.const_data_ptr<float>() + i * d; }
};

// f(first, last) for each chunk of rows. One chunk more than there is, and empty, keeps even a single one inside
// a parallel region, where a matmul uses one thread: its sums then do not depend on their number.
template <class F>
void for_chunks(int64_t n, F&& f) {
  at::parallel_for(0, (n + kChunk - 1) / kChunk + 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t first = c * kChunk, last = std::min(n, first + kChunk);
      if (first < last) f(first, last);
    }
  });
}

// f(first, last) for each block of columns.
template <class F>
void for_columns(int64_t d, F&& f) {
  at::parallel_for(0, (d + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) f(b * kColumns, std::min(d, (b + 1) * kColumns));
  });
}

double squared_distance(const float* a, const float* b, int64_t d) {
  double sum = 0;
  for (int64_t j = 0; j < d; ++j) {
    const double difference = static_cast<double>(a[j]) - b[j];
    sum += difference * difference;
  }
  return sum;
}

// Capped, so that it stays a float.
float squared_norm(const float* a, int64_t d) {
  double sum = 0;
  for (int64_t j = 0; j < d; ++j) sum += static_cast<double>(a[j]) * a[j];
  return static_cast<float>(std::min(sum, 2 * kLargestNorm));
}

Points centered(const at::Tensor& points) {
  const int64_t n = points.size(0), d = points.size(1);
  const float* data = points.const_data_ptr<float>();
  std::vector<char> bad((n + kChunk - 1) / kChunk, 0);
  for_chunks(n, [&](int64_t first, int64_t last) {
    for (int64_t at = first * d; at < last * d; ++at) bad[first / kChunk] |= !std::isfinite(data[at]);
  });
  if (std::any_of(bad.begin(), bad.end(), [](char b) { return b; })) {
    throw Error(code::kInvalidArgument, "The points to cluster have NaN or infinite values.",
                "Check the features that they come from.");
  }
  Points out{at::empty({n, d}, at::kFloat), std::vector<double>(d), {}, 0, n, d};
  std::vector<double> variance(d);
  float* centered = out.x.mutable_data_ptr<float>();
  for_columns(d, [&](int64_t first, int64_t last) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = first; j < last; ++j) out.mean[j] += data[i * d + j];
    }
    for (int64_t j = first; j < last; ++j) out.mean[j] /= static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = first; j < last; ++j) {
        const double value = data[i * d + j] - out.mean[j];
        centered[i * d + j] = static_cast<float>(value);
        variance[j] += value * value;
      }
    }
  });
  out.variance = std::accumulate(variance.begin(), variance.end(), 0.0) / static_cast<double>(n * d);
  out.norms.resize(n);
  for_chunks(n, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) out.norms[i] = squared_norm(out.row(i), d);
  });
  if (std::any_of(out.norms.begin(), out.norms.end(), [](float norm) { return norm > kLargestNorm; })) {
    throw Error(code::kInvalidArgument, "The points to cluster are too far apart for fp32.", "Scale the features.");
  }
  return out;
}

// Distinct rows, counted up to `enough`.
int64_t distinct_rows(const Points& points, int64_t enough) {
  std::unordered_set<std::string_view> seen;
  for (int64_t i = 0; i < points.n && static_cast<int64_t>(seen.size()) < enough; ++i) {
    seen.insert({reinterpret_cast<const char*>(points.row(i)), static_cast<size_t>(points.d) * sizeof(float)});
  }
  return static_cast<int64_t>(seen.size());
}

// Calls row(i, distances[m]) with the squared distances of point i to the m centers, chunk by chunk in parallel.
template <class F>
void for_distances(const Points& points, const at::Tensor& centers, F&& row) {
  const int64_t m = centers.size(0);
  std::vector<float> norms(m);
  for (int64_t c = 0; c < m; ++c) norms[c] = squared_norm(centers.const_data_ptr<float>() + c * points.d, points.d);
  const at::Tensor transposed = centers.t();
  for_chunks(points.n, [&](int64_t first, int64_t last) {
    const at::Tensor products = at::mm(points.x.slice(0, first, last), transposed);
    float* at = products.mutable_data_ptr<float>();
    for (int64_t i = first; i < last; ++i, at += m) {
      for (int64_t c = 0; c < m; ++c) at[c] = std::max(0.0f, points.norms[i] - 2 * at[c] + norms[c]);
      row(i, at);
    }
  });
}

// The random numbers of one restart, in [0, 1) with 53 bits.
class Random {
 public:
  Random(uint64_t seed, int64_t restart) : seed_(seed), restart_(static_cast<uint32_t>(restart)) {}
  double next() {
    const Uint4 r = philox_block(seed_, restart_, Stream::kClustering, block_++);
    return static_cast<double>((static_cast<uint64_t>(r.x) << 32 | r.y) >> 11) * 0x1p-53;
  }

 private:
  uint64_t seed_, block_ = 0;
  uint32_t restart_;
};

// Greedy k-means++: each further center is the best of 2 + log k points drawn in proportion to their squared distance
// to the centers so far.
at::Tensor first_centers(const Points& points, int64_t k, Random& random, const Context& context) {
  const int64_t trials = 2 + static_cast<int64_t>(std::log(static_cast<double>(k)));
  const int64_t chunks = (points.n + kChunk - 1) / kChunk;
  at::Tensor centers = at::empty({k, points.d}, at::kFloat);
  const auto place = [&](at::Tensor& to, int64_t c, int64_t point) {
    std::copy_n(points.row(point), points.d, to.mutable_data_ptr<float>() + c * points.d);
  };
  place(centers, 0, std::min(points.n - 1, static_cast<int64_t>(random.next() * static_cast<double>(points.n))));

  std::vector<float> closest(points.n);
  for_distances(points, centers.slice(0, 0, 1), [&](int64_t i, const float* distances) { closest[i] = distances[0]; });
  std::vector<float> candidate(trials * points.n);  // [trials, n]: closest, were the candidate chosen
  at::Tensor tried = at::empty({trials, points.d}, at::kFloat);
  for (int64_t c = 1; c < k; ++c) {
    context.check_cancelled();
    const double potential = std::accumulate(closest.begin(), closest.end(), 0.0);
    std::vector<double> thresholds(trials);
    for (double& threshold : thresholds) threshold = random.next() * potential;
    std::sort(thresholds.begin(), thresholds.end());
    int64_t point = 0;
    double sum = closest[0];
    for (int64_t t = 0; t < trials; ++t) {
      while (sum <= thresholds[t] && point < points.n - 1) sum += closest[++point];
      place(tried, t, point);
    }
    std::vector<double> partial(chunks * trials);
    for_distances(points, tried, [&](int64_t i, const float* distances) {
      for (int64_t t = 0; t < trials; ++t) {
        const float nearest = std::min(closest[i], distances[t]);
        candidate[t * points.n + i] = nearest;
        partial[i / kChunk * trials + t] += nearest;
      }
    });
    int64_t best = 0;
    double best_potential = std::numeric_limits<double>::infinity();
    for (int64_t t = 0; t < trials; ++t) {
      double sum_of_trial = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum_of_trial += partial[chunk * trials + t];
      if (sum_of_trial < best_potential) best = t, best_potential = sum_of_trial;
    }
    std::copy_n(candidate.begin() + best * points.n, points.n, closest.begin());
    std::copy_n(tried.const_data_ptr<float>() + best * points.d, points.d,
                centers.mutable_data_ptr<float>() + c * points.d);
  }
  return centers;
}

struct Assignment {
  std::vector<int64_t> labels;   // [n]
  std::vector<float> distances;  // [n] squared, to the own center
};

Assignment assign(const Points& points, const at::Tensor& centers) {
  Assignment out{std::vector<int64_t>(points.n), std::vector<float>(points.n)};
  const int64_t k = centers.size(0);
  for_distances(points, centers, [&](int64_t i, const float* distances) {
    out.labels[i] = std::min_element(distances, distances + k) - distances;
    out.distances[i] = distances[out.labels[i]];
  });
  return out;
}

// Each empty cluster takes one of the points farthest from their centers; no cluster is emptied by it.
void fill_empty(Assignment& assignment, std::vector<int64_t>& counts) {
  if (std::find(counts.begin(), counts.end(), 0) == counts.end()) return;
  std::vector<int64_t> order(assignment.labels.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return assignment.distances[a] > assignment.distances[b]; });
  size_t next = 0;
  for (size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] != 0) continue;
    while (next < order.size() && counts[assignment.labels[order[next]]] < 2) ++next;
    if (next == order.size() || assignment.distances[order[next]] == 0) return;
    --counts[assignment.labels[order[next]]];
    assignment.labels[order[next++]] = static_cast<int64_t>(c);
    counts[c] = 1;
  }
}

std::vector<int64_t> count(const std::vector<int64_t>& labels, int64_t k) {
  std::vector<int64_t> counts(k, 0);
  for (const int64_t label : labels) ++counts[label];
  return counts;
}

// Means of the clusters; a cluster without members keeps its old center. Rows are summed in kParts parts, then these.
at::Tensor means(const Points& points, const std::vector<int64_t>& labels, const std::vector<int64_t>& counts,
                 const at::Tensor& old) {
  const int64_t k = old.size(0), d = points.d;
  std::vector<std::vector<double>> sums(kParts);
  at::parallel_for(0, kParts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      sums[part].assign(k * d, 0.0);
      for (int64_t i = points.n * part / kParts; i < points.n * (part + 1) / kParts; ++i) {
        double* sum = sums[part].data() + labels[i] * d;
        const float* row = points.row(i);
        for (int64_t j = 0; j < d; ++j) sum[j] += row[j];
      }
    }
  });
  at::Tensor out = old.clone();
  float* centers = out.mutable_data_ptr<float>();
  for (int64_t c = 0; c < k; ++c) {
    for (int64_t at = c * d; counts[c] && at < (c + 1) * d; ++at) {
      double sum = 0;
      for (const auto& part : sums) sum += part[at];
      centers[at] = static_cast<float>(sum / static_cast<double>(counts[c]));
    }
  }
  return out;
}

struct Run {
  at::Tensor centers;           // [k, d], centered
  std::vector<int64_t> labels;  // [n]
  std::vector<double> squared;  // [n] distances to the own center
  double inertia = std::numeric_limits<double>::infinity();
  int64_t iterations = 0;
};

Run lloyd(const Points& points, at::Tensor centers, const KMeansOptions& options, const Context& context) {
  const int64_t k = centers.size(0);
  const double tolerance = options.tolerance * points.variance;
  std::vector<int64_t> before;
  Run run;
  bool settled = false;  // labels belong to the centers
  while (!settled && run.iterations < options.iterations) {
    context.check_cancelled();
    ++run.iterations;
    Assignment assignment = assign(points, centers);
    run.labels = assignment.labels;
    std::vector<int64_t> counts = count(assignment.labels, k);
    fill_empty(assignment, counts);
    at::Tensor moved = means(points, assignment.labels, counts, centers);
    double shift = 0;
    for (int64_t c = 0; c < k; ++c) {
      shift += squared_distance(centers.const_data_ptr<float>() + c * points.d,
                                moved.const_data_ptr<float>() + c * points.d, points.d);
    }
    centers = std::move(moved);
    settled = run.labels == before;
    if (shift <= tolerance) break;
    before = run.labels;
  }
  if (!settled) run.labels = assign(points, centers).labels;
  run.centers = centers;
  run.squared.resize(points.n);
  for_chunks(points.n, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      run.squared[i] =
          squared_distance(points.row(i), centers.const_data_ptr<float>() + run.labels[i] * points.d, points.d);
    }
  });
  run.inertia = std::accumulate(run.squared.begin(), run.squared.end(), 0.0);
  return run;
}

// The result in the points' own place. Clusters that rounding left without members (points closer than fp32 tells) go.
KMeansResult finished(const Points& points, const Run& run, int64_t iterations) {
  const int64_t d = points.d;
  const std::vector<int64_t> counts = count(run.labels, run.centers.size(0));
  std::vector<int64_t> renamed(counts.size());
  int64_t k = 0;
  for (size_t c = 0; c < counts.size(); ++c) renamed[c] = counts[c] ? k++ : -1;

  KMeansResult out;
  out.labels = at::empty({points.n}, at::kLong);
  out.centers = at::empty({k, d}, at::kFloat);
  out.distances = at::empty({points.n}, at::kFloat);
  out.inertia = run.inertia;
  out.iterations = iterations;
  for (int64_t i = 0; i < points.n; ++i) {
    out.labels.mutable_data_ptr<int64_t>()[i] = renamed[run.labels[i]];
    out.distances.mutable_data_ptr<float>()[i] = static_cast<float>(std::sqrt(run.squared[i]));
  }
  for (size_t c = 0; c < counts.size(); ++c) {
    if (renamed[c] < 0) continue;
    for (int64_t j = 0; j < d; ++j) {
      out.centers.mutable_data_ptr<float>()[renamed[c] * d + j] =
          static_cast<float>(points.mean[j] + run.centers.const_data_ptr<float>()[static_cast<int64_t>(c) * d + j]);
    }
  }
  return out;
}

void check(const at::Tensor& points, const KMeansOptions& options) {
  if (!points.defined() || points.dim() != 2 || points.size(0) < 1 || points.size(1) < 1 ||
      points.scalar_type() != at::kFloat || !points.is_cpu()) {
    throw Error(code::kInvalidArgument,
                "Points to cluster must be an fp32 tensor [n, d] on the CPU with n > 0 and d > 0.");
  }
  if (options.clusters < 1 || options.restarts < 1 || options.iterations < 1 || !(options.tolerance >= 0)) {
    throw Error(code::kInvalidArgument,
                "Clusters, restarts and iterations must be at least 1, the tolerance not negative.");
  }
}

}  // namespace

KMeansResult kmeans(const at::Tensor& table, const KMeansOptions& options, const Context& context) {
  check(table, options);
  const Stage stage("cluster");
  const Points points = centered(table.contiguous());
  const int64_t k = distinct_rows(points, std::min(options.clusters, points.n));
  Run best;
  for (int64_t restart = 0; restart < options.restarts; ++restart) {
    context.report("cluster", restart, options.restarts);
    Random random(options.seed, restart);
    Run run = lloyd(points, first_centers(points, k, random, context), options, context);
    if (run.inertia < best.inertia) best = std::move(run);
  }
  context.report("cluster", options.restarts, options.restarts);
  return finished(points, best, best.iterations);
}

}  // namespace diffmine
