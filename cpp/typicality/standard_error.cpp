#include "typicality/standard_error.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "diffusion/noise.h"
#include "typicality/patches.h"

namespace diffmine {
namespace {

// Score maps of one image are made for this many bytes of samples at a time: enough to fill a device, little beside its
// activations.
constexpr int64_t kScoreBytes = int64_t{64} << 20;
constexpr int kMaxDegree = 3;
constexpr int kStarts = 64;  // values of u that the sequence's variance is taken over

// A regressor's values, and its coefficients in powers of t where it is a polynomial.
struct Column {
  std::vector<double> values;
  std::array<double, kMaxDegree + 1> powers{};

  void add(double factor, const Column& other) {
    for (size_t n = 0; n < values.size(); ++n) values[n] += factor * other.values[n];
    for (size_t k = 0; k < powers.size(); ++k) powers[k] += factor * other.powers[k];
  }
};

double dot(const Column& a, const Column& b) {
  double sum = 0;
  for (size_t n = 0; n < a.values.size(); ++n) sum += a.values[n] * b.values[n];
  return sum;
}

// Adds what `column` has beside the basis (Gram-Schmidt, twice against rounding), unless that is nothing.
void extend(std::vector<Column>& basis, Column column) {
  const double before = std::sqrt(dot(column, column));
  for (int turn = 0; turn < 2; ++turn) {
    for (const Column& q : basis) column.add(-dot(q, column), q);
  }
  const double length = std::sqrt(dot(column, column));
  if (length <= 1e-6 * before) return;
  column.add(1 / length - 1, Column(column));
  basis.push_back(std::move(column));
}

double leverage(const std::vector<Column>& basis, int64_t n) {
  double sum = 0;
  for (const Column& q : basis) sum += q.values[n] * q.values[n];
  return sum;
}

// Degree of the polynomial of t: what N samples can carry without losing many degrees of freedom.
int degree(int64_t samples) {
  if (samples < 4) return 0;
  return samples < 8 ? 1 : samples < 16 ? 2 : kMaxDegree;
}

// t as a number in (-1, 1).
double centered(int64_t t, const Strata& strata) {
  return (2 * static_cast<double>(t - strata.begin) + 1) / static_cast<double>(strata.end - strata.begin) - 1;
}

// Rows L^T Q^T, where L L^T is the covariance, over u, of the means of the polynomials in the basis.
at::Tensor trend_rows(const std::vector<Column>& polynomials, int64_t samples, const Strata& strata) {
  const auto count = static_cast<int64_t>(polynomials.size());
  std::vector<std::vector<double>> means;  // [u][polynomial]
  std::vector<double> center(count, 0.0);
  for (int i = 0; i < kStarts; ++i) {
    auto& row = means.emplace_back(count, 0.0);
    for (const int64_t t : stratified_timesteps((i + 0.5) / kStarts, samples, strata.begin, strata.end)) {
      for (int64_t j = 0; j < count; ++j) {
        double value = 0;
        for (int k = kMaxDegree; k >= 0; --k) value = value * centered(t, strata) + polynomials[j].powers[k];
        row[j] += value / static_cast<double>(samples);
      }
    }
    for (int64_t j = 0; j < count; ++j) center[j] += row[j] / kStarts;
  }
  // Cholesky, in place of the covariance; a direction without variance gets a row of zeros.
  std::vector<std::vector<double>> l(count, std::vector<double>(count, 0.0));
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (const auto& row : means) sum += (row[i] - center[i]) * (row[j] - center[j]) / kStarts;
      for (int64_t k = 0; k < j; ++k) sum -= l[i][k] * l[j][k];
      if (i == j) l[i][i] = std::sqrt(std::max(sum, 0.0));
      else l[i][j] = l[j][j] > 1e-12 ? sum / l[j][j] : 0;
    }
  }
  auto rows = at::zeros({count, samples}, at::kFloat);
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t n = 0; n < samples; ++n) {
      double sum = 0;
      for (int64_t i = j; i < count; ++i) sum += l[i][j] * polynomials[i].values[n];
      rows.data_ptr<float>()[j * samples + n] = static_cast<float>(sum);
    }
  }
  return rows;
}

}  // namespace

Spread spread_of(int64_t samples, const Strata& strata, const at::Tensor& rivals) {
  const auto empty = [&] { return Column{std::vector<double>(samples, 0.0), {}}; };
  std::vector<Column> basis;
  for (int power = 0; power <= (strata.timesteps ? degree(samples) : 0); ++power) {
    Column column = empty();
    for (int64_t n = 0; n < samples; ++n)
      column.values[n] = power == 0 ? 1 : std::pow(centered(strata.timesteps[n], strata), power);
    column.powers[power] = 1;
    extend(basis, std::move(column));
  }
  Spread spread;
  spread.trend = strata.timesteps ? trend_rows(basis, samples, strata) : at::zeros({0, samples}, at::kFloat);
  if (rivals.defined() && rivals.size(1) <= samples / 2) {
    auto with = basis;
    const auto shares = rivals.contiguous();
    for (int64_t r = 0; r < shares.size(1); ++r) {
      Column column = empty();
      for (int64_t n = 0; n < samples; ++n) column.values[n] = shares.const_data_ptr<double>()[n * shares.size(1) + r];
      extend(with, std::move(column));
    }
    bool fits = 2 * static_cast<int64_t>(with.size()) <= samples;
    for (int64_t n = 0; n < samples && fits; ++n) fits = leverage(with, n) < 0.95;
    if (fits) basis = std::move(with);
  }
  const auto p = static_cast<int64_t>(basis.size());
  spread.basis = at::empty({samples, p}, at::kFloat), spread.scale = at::empty({samples}, at::kFloat);
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t j = 0; j < p; ++j) spread.basis.data_ptr<float>()[n * p + j] = static_cast<float>(basis[j].values[n]);
    // One sample has no spread: 0 / 0 is NaN.
    const double left = samples == 1 ? 0.0 : 1 - leverage(basis, n);
    spread.scale.data_ptr<float>()[n] = static_cast<float>(1 / (static_cast<double>(samples) * std::sqrt(left)));
  }
  return spread;
}

at::Tensor standard_errors(const at::Tensor& differences, const std::vector<Spread>& spreads, const at::Tensor& a_h,
                           const at::Tensor& a_w) {
  const int64_t n = differences.size(0), outputs = differences.size(1), h = differences.size(2),
                w = differences.size(3);
  const int64_t rows = a_h.size(0), columns = a_w.size(0);
  if (n == 1) return at::full({outputs, rows, columns}, std::numeric_limits<float>::quiet_NaN(), differences.options());
  auto variance = at::zeros({outputs, rows, columns}, differences.options());
  const int64_t at_once = std::max<int64_t>(1, kScoreBytes / (rows * columns * int64_t{sizeof(float)}));
  for (int64_t m = 0; m < outputs; ++m) {
    const auto d = differences.select(1, m).flatten(1);  // [N, h' w']
    const auto& [basis, scale, trend] = spreads[m];
    const auto explained = at::mm(basis.t(), d);  // [p, h' w']
    const auto add = [&, sum = variance.select(0, m)](const at::Tensor& parts) {
      sum.add_(patch_scores(parts.view({-1, h, w}), a_h, a_w).square().sum(0));
    };
    for (int64_t i = 0; i < n; i += at_once) {
      const auto of = [&](const at::Tensor& all) { return all.slice(0, i, std::min(i + at_once, n)); };
      add((of(d) - at::mm(of(basis), explained)) * of(scale).unsqueeze(1));
    }
    if (trend.size(0) > 0) add(at::mm(trend, d));
  }
  return variance.sqrt_();
}

}  // namespace diffmine
