// The loss difference of conditions, without cancellation, averaged over channels (paper equation 3 before its
// expectation):
//
//   D[p, m] = mean_c sum_k w[p, m, k] (L_k - L_s),   L_k - L_s = (e_s - e_k)(2 y - e_s - e_k),   s = subject[p, m],
//   y = target_x[p] x[p] + target_noise[p] noise[p]   (what the model was trained to predict: eps, or v)
#pragma once
#include <cstdint>

namespace diffmine {

struct LossShape {
  int64_t rows;        // P
  int64_t conditions;  // K
  int64_t outputs;     // M
  int64_t channels;    // C, of the UNet's layout
  int64_t height, width;
  int64_t fold;  // 1, or f where f x f pixels are folded into channels (torch.pixel_unshuffle): out is unfolded
};

// e [P, K, C, H, W]; x, noise [P, C, H, W]; target_x, target_noise [P]; subject [P, M]; weight [P, M, K]; out [P, M, f
// H, f W].
void launch_loss_difference(float* out, const float* e, const float* x, const float* noise, const float* target_x,
                            const float* target_noise, const int64_t* subject, const float* weight, LossShape shape,
                            void* cuda_stream);
void loss_difference_cpu(float* out, const float* e, const float* x, const float* noise, const float* target_x,
                         const float* target_noise, const int64_t* subject, const float* weight, LossShape shape,
                         void* cuda_stream = nullptr);

}  // namespace diffmine
