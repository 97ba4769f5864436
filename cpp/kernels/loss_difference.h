// The loss difference of conditions, without cancellation, averaged over channels (paper equation 3 before its
// expectation), for consecutive samples n of one image:
//
//   D[n, m] = scale[n] mean_c sum_k w[m, k] (L_k - L_s),   L_k - L_s = (e_s - e_k)(2 y - e_s - e_k),   s = subject[m],
//   y = target_x[n] x + target_noise[n] noise[n]   (what the model was trained to predict: eps, or v)
//
// It is folded into its running mean (running_mean.h) as it is made, and written where it is asked for.
#pragma once
#include <cstdint>

namespace diffmine {

struct LossShape {
  int64_t samples;     // n
  int64_t conditions;  // K
  int64_t outputs;     // M
  int64_t channels;    // C, of the UNet's layout
  int64_t height, width;
  int64_t fold;   // 1, or f where f x f pixels are folded into channels (torch.pixel_unshuffle): maps are unfolded
  int64_t count;  // samples before these
  int64_t e_channel, e_cell;  // strides of e: between channels, between places; its rows [C, H, W] follow each other
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
