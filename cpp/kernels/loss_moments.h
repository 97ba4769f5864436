// The loss difference (loss_difference.h) of consecutive samples of one image, times the sample's scale, folded into
// its running moments (moments.h) as it is made: the same numbers as from the two kernels after each other, without the
// maps between them, unless requested.
#pragma once
#include <cstdint>

namespace diffmine {

struct LossMomentsShape {
  int64_t samples;     // n
  int64_t conditions;  // K
  int64_t outputs;     // M
  int64_t channels;    // C, of the UNet's layout
  int64_t height, width;
  int64_t fold;               // f: f x f pixels are folded into channels
  int64_t count;              // samples before these
  int64_t e_channel, e_cell;  // strides of e: between channels, between places; its rows [C, H, W] follow each other
};

// e [n, K, C, H, W]; x [C, H, W]; noise [n, C, H, W]; target_x, target_noise, scale [n]; subject [M]; weight [M, K];
// mean, m2 [M, f H, f W]; differences [n, M, f H, f W] or null.
void launch_loss_moments(float* differences, float* mean, float* m2, const float* e, const float* x, const float* noise,
                         const float* target_x, const float* target_noise, const float* scale, const int64_t* subject,
                         const float* weight, LossMomentsShape shape, void* cuda_stream);
void loss_moments_cpu(float* differences, float* mean, float* m2, const float* e, const float* x, const float* noise,
                      const float* target_x, const float* target_noise, const float* scale, const int64_t* subject,
                      const float* weight, LossMomentsShape shape, void* cuda_stream = nullptr);

}  // namespace diffmine
