// Attention on a CPU where there are many keys: softmax(q k^T) v in blocks that stay in a core's cache (Dao et al. 2022), multiplied by
// oneDNN's kernels for such blocks.
#pragma once
#include <ATen/core/Tensor.h>

namespace diffmine {

// Does attention_cpu take tensors of this type here? fp32 and bf16, where LibTorch was built with those kernels and the processor has their instructions.
bool has_attention_cpu(at::ScalarType dtype);

// As attention() in layers.h, without a mask: q [B, heads, N, d], k and v [B, heads, M, d], any strides, the last dimension contiguous and of even size.
// Scores, softmax and sums in fp32. Gives [B, heads, N, d] whose memory is [B, N, heads, d].
at::Tensor attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace diffmine
