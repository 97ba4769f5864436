// The names of the CPU implementations, bound to the CUDA kernels: these are linked before the core's library and stand
// for its own, so that all of the core and its tests run the emulated kernels without any change.
#include <ATen/ops/empty.h>

#include "kernels/add.h"
#include "kernels/conv_out.h"
#include "kernels/geglu.h"
#include "kernels/group_norm.h"
#include "kernels/layer_norm.h"
#include "kernels/loss_difference.h"
#include "kernels/noise.h"
#include "kernels/noising.h"
#include "kernels/running_mean.h"
#include "kernels/select.h"

namespace diffmine {

void add_cpu(void* x, const void* residual, const float* v, AddShape shape, void* stream) {
  launch_add(x, residual, v, shape, stream);
}

void conv_out_cpu(float* out, const void* x, const float* weight, const float* bias, ConvOutShape shape, void* stream) {
  launch_conv_out(out, x, weight, bias, shape, stream);
}

void geglu_cpu(void* out, const void* x, Dtype dtype, int64_t rows, int64_t channels, void* stream) {
  launch_geglu(out, x, dtype, rows, channels, stream);
}

// The CPU implementation needs no scratch memory and gets none.
void group_norm_cpu(void* out, GroupNormInputs inputs, float*, GroupNormShape shape, void* stream) {
  const auto scratch = at::empty({group_norm_scratch(shape)}, at::kFloat);
  launch_group_norm(out, inputs, scratch.data_ptr<float>(), shape, stream);
}

void layer_norm_cpu(void* out, const void* x, Dtype dtype, const float* weight, const float* bias, const float* add,
                    int64_t rows, int64_t channels, double eps, void* stream) {
  launch_layer_norm(out, x, dtype, weight, bias, add, rows, channels, eps, stream);
}

void loss_difference_cpu(float* differences, float* mean, const float* e, const float* x, const float* noise,
                         const float* target_x, const float* target_noise, const float* scale, const int64_t* subject,
                         const float* weight, LossShape shape, void* stream) {
  launch_loss_difference(differences, mean, e, x, noise, target_x, target_noise, scale, subject, weight, shape, stream);
}

void update_mean_cpu(const float* samples, int64_t n, int64_t elements, int64_t count, float* mean, void* stream) {
  launch_update_mean(samples, n, elements, count, mean, stream);
}

void philox_normal_cpu(float* out, int64_t first_sample, int64_t samples, int64_t per_sample, uint64_t seed,
                       uint32_t stream_word, void* stream) {
  launch_philox_normal(out, first_sample, samples, per_sample, seed, stream_word, stream);
}

void add_noise_cpu(void* out, Dtype dtype, const float* x, const float* noise, const float* a, const float* s,
                   int64_t rows, int64_t channels, int64_t pixels, void* stream) {
  launch_add_noise(out, dtype, x, noise, a, s, rows, channels, pixels, stream);
}

void draw_and_add_noise_cpu(void* out, Dtype dtype, float* noise, const float* latents, const int64_t* image,
                            const int64_t* sample, const float* a, const float* s, int64_t rows, int64_t channels,
                            int64_t pixels, uint64_t seed, uint32_t stream_word, void* stream) {
  launch_draw_and_add_noise(out, dtype, noise, latents, image, sample, a, s, rows, channels, pixels, seed, stream_word,
                            stream);
}

void select_patches_cpu(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count,
                        bool ascending, int64_t* picks, void* stream) {
  launch_select_patches(scores, maps, rows, columns, patch, count, ascending, picks, stream);
}

void select_extremes_cpu(const float* scores, int64_t maps, int64_t rows, int64_t columns, int64_t patch, int64_t count,
                         int64_t* top, int64_t* bottom, void* stream) {
  launch_select_extremes(scores, maps, rows, columns, patch, count, top, bottom, stream);
}

}  // namespace diffmine
