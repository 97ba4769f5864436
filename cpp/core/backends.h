// LibTorch's backends: settings of the whole process, and what they can compute here.
#pragma once
#include <ATen/core/Tensor.h>

namespace diffmine {

// Sets LibTorch's process-wide settings, once, before the first engine works; they never change, because engines work
// side by side. On a CPU, NNPACK is off: LibTorch uses it for some small convolutions only, and where it does not
// support the processor it writes a warning at each of them. On CUDA, fp32 means fp32 (no TF32 in cuDNN or cuBLAS;
// LibTorch's default for cuDNN is TF32), partial sums of fp16 and bf16 products are never rounded to their dtype, and
// cuDNN is deterministic. What an engine wants otherwise (tuning, TF32) goes with each of its calls (Conv2d in
// models/layers.h).
void set_up_backends(const at::Device& device);

// Probes cuDNN attention, once per process, before the first engine that attends in reduced precision on CUDA. LibTorch
// asks cuDNN first, on the cards and with the releases where it is the fastest and right, and asks no other when it
// throws: it throws where it cannot build its kernels (no NVRTC found, an unknown card). If the probe fails, cuDNN
// attention is turned off and a line on stderr says so.
void probe_cudnn_attention(const at::Device& device, at::ScalarType dtype);

// Whether LibTorch's FlashAttention runs there: on CUDA from compute capability 8.0.
bool has_flash_attention(const at::Device& device);

// Whether oneDNN multiplies in fp16 on this processor (AVX512-FP16, AMX-FP16 or AVX-NE-CONVERT). Elsewhere LibTorch's
// convolutions in fp16 take hundreds of times as long as in fp32.
bool cpu_computes_fp16();

// Whether LibTorch and oneDNN multiply in bf16 on this processor (AVX512-BF16 or AMX-BF16). Elsewhere bf16 is emulated
// in fp32 and slower than it.
bool cpu_computes_bf16();

}  // namespace diffmine
