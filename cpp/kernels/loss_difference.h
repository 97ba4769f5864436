// The loss difference of conditions, without cancellation, averaged over channels (paper equation 3 before its
// expectation), for consecutive samples n of one image:
//
//   D[n, m] = scale[n] mean_c sum_k w[m, k] (L_k - L_s),   s = subject[m],   L_k = the loss of e_k - y,
//   y = target_x[n] x + target_noise[n] noise[n]   (what the model was trained to predict: eps, or v)
//
// It is folded into its running mean (running_mean.h) as it is made, and written where it is asked for.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace diffmine {

// Of an error d. The paper has the square; the others give large errors less weight.
enum class Loss {
  kSquared,   // d^2
  kAbsolute,  // |d|
  kHuber,     // 2 c (sqrt(d^2 + c^2) - c), smooth: d^2 where d is much smaller than c, 2 c |d| where it is larger
};

// c of the Huber loss, in standard deviations of the noise (diffusers' huber_c).
constexpr float kHuberWidth = 0.1f;

// L_b - L_a of predictions a and b of y. All three are multiples of b's squared error less a's, (a - b)(2 y - a - b),
// which does not cancel where a and b nearly agree.
DIFFMINE_HD float loss_gap(Loss loss, float a, float b, float y) {
  const float squares = (a - b) * (2 * y - a - b);
  if (loss == Loss::kSquared) return squares;
  if (loss == Loss::kAbsolute) {
    const float sum = std::fabs(a - y) + std::fabs(b - y);
    return sum > 0 ? squares / sum : 0;
  }
  const float c = kHuberWidth, da = a - y, db = b - y;
  return 2 * c * squares / (std::sqrt(da * da + c * c) + std::sqrt(db * db + c * c));
}

struct LossShape {
  int64_t samples;     // n
  int64_t conditions;  // K
  int64_t outputs;     // M
  int64_t channels;    // C, of the UNet's layout
  int64_t height, width;
  int64_t fold;   // 1, or f where f x f pixels are folded into channels (torch.pixel_unshuffle): maps are unfolded
  int64_t count;  // samples before these
  int64_t e_channel, e_cell;  // strides of e: between channels, between places; its rows [C, H, W] follow each other
  Loss loss;
};

// e [n, K, C, H, W]; x [C, H, W]; noise [n, C, H, W]; target_x, target_noise, scale [n]; subject [M]; weight [M, K];
// mean [M, f H, f W]; differences [n, M, f H, f W] or null.
void launch_loss_difference(float* differences, float* mean, const float* e, const float* x, const float* noise,
                            const float* target_x, const float* target_noise, const float* scale,
                            const int64_t* subject, const float* weight, LossShape shape, void* cuda_stream);
void loss_difference_cpu(float* differences, float* mean, const float* e, const float* x, const float* noise,
                         const float* target_x, const float* target_noise, const float* scale, const int64_t* subject,
                         const float* weight, LossShape shape, void* cuda_stream = nullptr);

}  // namespace diffmine
