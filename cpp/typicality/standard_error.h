// The standard error of a mean over samples whose timesteps and rivals were not drawn independently.
//
// Stratified timesteps and rivals that take turns cover their ranges evenly, so what the loss difference depends on
// through them varies little from seed to seed. s / sqrt(N) would count it as noise. The samples d [N] are therefore
// regressed on a polynomial of t and on the rivals:
//
//   variance of the mean = sum_n (scale_n e_n)^2 + sum_j (trend_j d)^2
//   e = d - Q Q^T d,   scale_n = 1 / (N sqrt(1 - h_n)),   h_n = |Q_n|^2
//
// Q [N, p] is an orthonormal basis of the regressors. Dividing by 1 - h_n (MacKinnon and White's HC2) counts the
// degrees of freedom sample by sample, which keeps the estimate right where the noise changes with t. The second sum is
// the variance, over the start u of the golden-ratio sequence, of the mean of the fitted polynomial. With the constant
// as the only regressor the whole is s^2 / N, with N - 1 in s.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace diffmine {

struct Spread {
  at::Tensor basis;  // Q [N, p] fp32
  at::Tensor scale;  // [N] fp32
  at::Tensor trend;  // [q, N] fp32; q may be 0
};

// The stratified sequence that timesteps were drawn by; none where they were independent.
struct Strata {
  const int64_t* timesteps = nullptr;  // [N]
  int64_t begin = 0, end = 0;          // their range
};

// rivals [N, R] fp64, CPU: how much of each rival is in each sample's contrast; undefined, or constant columns, where
// nothing changes. Where taking the rivals out would leave fewer than N / 2 degrees of freedom, they stay in the
// residuals and the variance is an upper bound.
Spread spread_of(int64_t samples, const Strata& strata, const at::Tensor& rivals);

// Standard errors [M, R, S] of the patch scores of M maps over samples with these differences [N, M, h', w']; spreads
// [M], a_h and a_w the operators of patch_scores. NaN for one sample.
at::Tensor standard_errors(const at::Tensor& differences, const std::vector<Spread>& spreads, const at::Tensor& a_h,
                           const at::Tensor& a_w);

}  // namespace diffmine
