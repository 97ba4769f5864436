// k-means against scikit-learn's numbers, its determinism and its edge cases.
#include "clustering/kmeans.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "diffusion/noise.h"
#include "tests/support.h"
#include "weights/safetensors.h"

using namespace diffmine;
using namespace diffmine::test;

namespace {

at::Tensor normal(int64_t n, int64_t d, uint64_t seed) {
  return draw_noise(seed, 0, n, {d}, Stream::kSampling, at::Device(at::kCPU));
}

std::vector<int64_t> numbers(const at::Tensor& labels) {
  const at::Tensor whole = labels.to(at::kLong).contiguous();
  return {whole.const_data_ptr<int64_t>(), whole.const_data_ptr<int64_t>() + whole.numel()};
}

// Equal up to the names of the clusters.
bool same_partition(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  std::map<int64_t, int64_t> there, back;
  for (size_t i = 0; i < a.size(); ++i) {
    if (there.emplace(a[i], b[i]).first->second != b[i] || back.emplace(b[i], a[i]).first->second != a[i]) return false;
  }
  return a.size() == b.size();
}

// What a result claims must follow from the points.
void check_consistent(const at::Tensor& points, const KMeansResult& result) {
  const auto labels = numbers(result.labels);
  const int64_t k = result.centers.size(0);
  double inertia = 0;
  std::set<int64_t> used(labels.begin(), labels.end());
  CHECK(static_cast<int64_t>(used.size()) == k);
  for (size_t i = 0; i < labels.size(); ++i) {
    const at::Tensor squared =
        (result.centers.to(at::kDouble) - points[static_cast<int64_t>(i)].to(at::kDouble)).square().sum(1);
    const double own = squared[labels[i]].item<double>();
    CHECK(own <= squared.min().item<double>() * (1 + 1e-4) + 1e-5);
    CHECK(std::abs(std::sqrt(own) - result.distances[static_cast<int64_t>(i)].item<double>()) <=
          1e-4 + 1e-4 * std::sqrt(own));
    inertia += own;
  }
  CHECK(result.inertia == doctest::Approx(inertia).epsilon(1e-4));
}

}  // namespace

TEST_CASE("kmeans: scikit-learn's partitions, centers and inertia") {
  const auto file = SafetensorsFile::open(golden("common-golden/golden.safetensors"));
  struct Case {
    const char* id;
    int64_t k;
    double inertia;
    int64_t overk;
    double overk_inertia;
  };
  for (const Case& c : {Case{"kmeans_0", 4, 13.76070785522461, 6, 9.868796348571777},
                        Case{"kmeans_1", 5, 0.593336284160614, 7, 0.5396286249160767}}) {
    CAPTURE(c.id);
    const std::string id = c.id;
    const at::Tensor x = file->tensor(id + ".in.X"), centers = file->tensor(id + ".out.centers");
    for (const uint64_t seed : {0, 1, 2}) {
      KMeansOptions options;
      options.clusters = c.k;
      options.seed = seed;
      const KMeansResult result = kmeans(x, options);
      CHECK(result.inertia <= c.inertia * (1 + 1e-4));
      CHECK(result.inertia >= c.inertia * (1 - 1e-4));
      const auto labels = numbers(result.labels), wanted = numbers(file->tensor(id + ".out.labels"));
      CHECK(same_partition(labels, wanted));
      for (size_t i = 0; i < labels.size(); ++i)
        CHECK(close(result.centers[labels[i]], centers[wanted[i]], 1e-3, 1e-3));
      check_consistent(x, result);

      options.clusters = c.overk;
      const KMeansResult more = kmeans(x, options);
      CHECK(more.inertia <= 1.1 * c.overk_inertia);
      check_consistent(x, more);
    }
  }
}

TEST_CASE("kmeans: as good as the inertia recorded for mined features") {
  const auto file = SafetensorsFile::open(golden("e2e-tiny-sd15/result.safetensors"));
  struct Case {
    const char* label;
    double inertia;
  };
  for (const Case& c :
       {Case{"1920", 3.3033924102783203}, Case{"1950", 3.0189661979675293}, Case{"1980", 3.549915075302124}}) {
    CAPTURE(c.label);
    const at::Tensor x = file->tensor(std::string("features.") + c.label);
    for (const uint64_t seed : {0, 1, 42}) {
      KMeansOptions options;
      options.clusters = 4;
      options.seed = seed;
      const KMeansResult result = kmeans(x, options);
      CHECK(result.inertia <= c.inertia * (1 + 1e-4));
      check_consistent(x, result);
    }
  }
}

TEST_CASE("kmeans: the same bits for a seed, whatever the number of threads") {
  const at::Tensor x = normal(1500, 96, 3);
  KMeansOptions options;
  options.clusters = 12;
  options.restarts = 2;
  options.seed = 5;
  const int threads = at::get_num_threads();
  std::vector<KMeansResult> results;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    results.push_back(kmeans(x, options));
    // A single chunk of rows must not be computed by a matmul on several threads.
    results.push_back(kmeans(x.slice(0, 0, 200), options));
  }
  at::set_num_threads(threads);
  for (size_t i = 2; i < results.size(); ++i) {
    CHECK(results[i].labels.equal(results[i % 2].labels));
    CHECK(results[i].centers.equal(results[i % 2].centers));
    CHECK(results[i].distances.equal(results[i % 2].distances));
    CHECK(results[i].inertia == results[i % 2].inertia);
  }
  check_consistent(x, results[0]);
}

TEST_CASE("kmeans: well separated groups are found far from the origin") {
  std::vector<at::Tensor> groups;
  std::vector<int64_t> wanted;
  for (int64_t g = 0; g < 20; ++g) {
    groups.push_back(normal(30, 8, 100 + g) * 0.01 + normal(1, 8, 200 + g) * 3 + 1000);
    wanted.insert(wanted.end(), 30, g);
  }
  const at::Tensor x = at::cat(groups);
  KMeansOptions options;
  options.clusters = 20;
  const KMeansResult result = kmeans(x, options);
  CHECK(same_partition(numbers(result.labels), wanted));
}

TEST_CASE("kmeans: fewer distinct points than clusters") {
  const at::Tensor x = at::cat({at::zeros({5, 3}), at::ones({4, 3}), at::ones({1, 3}) * 2});
  KMeansOptions options;
  options.clusters = 8;
  const KMeansResult result = kmeans(x, options);
  CHECK(result.centers.size(0) == 3);
  CHECK(result.inertia == doctest::Approx(0));
  CHECK(same_partition(numbers(result.labels), {0, 0, 0, 0, 0, 1, 1, 1, 1, 2}));
  CHECK(kmeans(at::ones({1, 4}), options).centers.equal(at::ones({1, 4})));
  CHECK(kmeans(at::ones({7, 4}), options).centers.size(0) == 1);
}

TEST_CASE("kmeans: as many clusters as points; no cluster is left empty") {
  KMeansOptions options;
  options.restarts = 3;
  const at::Tensor x = normal(40, 2, 8);
  options.clusters = 40;
  const KMeansResult each = kmeans(x, options);
  CHECK(each.centers.size(0) == 40);
  CHECK(each.inertia == doctest::Approx(0).epsilon(1e-6));
  // Many copies of few points: k-means++ runs out of distant points and Lloyd has to fill clusters.
  const at::Tensor copies = at::cat({at::zeros({200, 2}), x.slice(0, 0, 9)});
  options.clusters = 10;
  const KMeansResult few = kmeans(copies, options);
  CHECK(few.centers.size(0) == 10);
  CHECK(few.inertia == doctest::Approx(0).epsilon(1e-6));
}

TEST_CASE("kmeans: what cannot be clustered") {
  at::Tensor x = normal(10, 3, 1);
  const auto refused = [&](const at::Tensor& points, KMeansOptions options = {}) {
    return error_code([&] { kmeans(points, options); }) == code::kInvalidArgument;
  };
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor broken = x.clone();
    broken[9][2] = bad;
    CHECK(refused(broken));
  }
  CHECK(refused(x * 1e30));
  CHECK(refused(x[0]));
  CHECK(refused(x.to(at::kDouble)));
  CHECK(refused(x.slice(0, 0, 0)));
  CHECK(refused(at::Tensor()));
  KMeansOptions options;
  options.clusters = 0;
  CHECK(refused(x, options));
  options = {};
  options.tolerance = std::numeric_limits<double>::quiet_NaN();
  CHECK(refused(x, options));
}

TEST_CASE("kmeans: cancelled between iterations, progress counts restarts") {
  CancelToken token;
  Context context;
  context.cancel = &token;
  std::vector<int64_t> done;
  context.on_progress = [&](const Progress& progress) {
    CHECK(progress.stage == "cluster");
    CHECK(progress.total == 4);
    done.push_back(progress.done);
    if (done.size() == 8) token.cancel();
  };
  KMeansOptions options;
  options.clusters = 5;
  options.restarts = 4;
  const at::Tensor x = normal(300, 4, 2);
  kmeans(x, options, context);
  CHECK(done == std::vector<int64_t>{0, 1, 2, 3, 4});
  CHECK(error_code([&] { kmeans(x, options, context); }) == code::kCancelled);
}
