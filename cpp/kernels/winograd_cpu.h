// 3 x 3 convolutions on a CPU with 16 products where a direct one has 36: Winograd's minimal filtering F(2 x 2, 3 x 3),
// in fp32.
//
// Its sums have other terms than the direct convolution's, so results agree to rounding: against float64 errors are
// about those of oneDNN's direct convolution (cpp/tests/winograd_test.cpp). Larger tiles (F(4 x 4)) would save more
// products and lose digits; bf16 has none to lose. fp16 is multiplied in fp32 here: processors with fp16 and without
// AMX for it do as many fp32 products a second.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace diffmine {

// Whether a 3 x 3 convolution of stride 1 and padding 1 is done faster so: where the transforms are little beside the
// products, and where transformed weights, 16 values for 9, are read often enough to be worth their memory. False where
// the processor has no block products.
bool winograd_pays(int64_t in, int64_t out, at::ScalarType dtype);

// weight [out, in, 3, 3] fp32 or fp16 -> G g G^T, packed for winograd_conv.
at::Tensor winograd_weight(const at::Tensor& weight);

// x [B, in, H, W] -> [B, out, H, W] + bias [out], both fp32 or fp16 in channels_last memory, padded by 1. A defined
// residual [B, out, H, W] is added in the same pass.
at::Tensor winograd_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         const at::Tensor& residual = {});

}  // namespace diffmine
