// A 3x3 convolution (stride 1, zero padding) to few output channels in fp32, such as a UNet's last: it reads
// activations in their own dtype, and accumulates in fp32 without tensor cores, because those would waste most of a
// tile on so few outputs.
#pragma once
#include <cstdint>

#include "kernels/dtype.h"

namespace diffmine {

// Output channels are computed in groups of this many; weights are zero-padded to a multiple of it.
constexpr int64_t kConvOutGroup = 4;

struct ConvOutShape {
  int64_t batch, height, width, channels, outputs;
  Dtype dtype;  // of x
};

// x [B, H, W, C] of the dtype; weight [ceil(outputs / 4), 9, C, 4], 16-byte aligned, and bias [outputs] fp32 -> out [B,
// H, W, outputs] fp32.
void launch_conv_out(float* out, const void* x, const float* weight, const float* bias, ConvOutShape shape,
                     void* cuda_stream);
void conv_out_cpu(float* out, const void* x, const float* weight, const float* bias, ConvOutShape shape,
                  void* cuda_stream = nullptr);

}  // namespace diffmine
