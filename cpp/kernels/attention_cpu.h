// Attention on a CPU with many keys: softmax(q k^T) v in blocks that stay in a core's cache (Dao et al. 2022). The
// products are AMX tiles in bf16 where the processor has them, otherwise oneDNN's kernels for small blocks.
#pragma once
#include <ATen/core/Tensor.h>

namespace diffmine {

// Whether attention_cpu takes tensors of this type here: fp32 and bf16, if the processor has the instructions and
// LibTorch the kernels.
bool has_attention_cpu(at::ScalarType dtype);

// As attention() in layers.h, without a mask: q [B, heads, N, d], k and v [B, heads, M, d], any strides, the last
// dimension contiguous and of even size. Scores, softmax and sums in fp32. Gives [B, heads, N, d] whose memory is [B,
// N, heads, d].
at::Tensor attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace diffmine
