// How an engine computes. Decided once, when the engine is created, and passed to what it loads: layers keep a copy of
// what concerns them, so that every thread that computes for the engine (OpenMP's, autograd's) sees the same. Nothing
// here changes what is computed, beyond rounding.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace diffmine {

struct EngineOptions {
  // Optimizations. All are on; to measure one, disable it (`diffmine bench --ablate`, `--disable`).
  bool graphs = true;             // CUDA: small forward passes are launched as graphs (models/denoiser_graph.h)
  bool prepacked_weights = true;  // CPU: weights in oneDNN's layouts; otherwise they are reordered in every call
  bool winograd = true;           // CPU, fp32 and fp16: kernels/winograd_cpu.h; otherwise oneDNN's direct convolution
  bool group_norm = true;         // GroupNorm with SiLU by kernels/ops.h; otherwise ATen's operators
  bool geglu = true;              // GEGLU, likewise
  bool shared_prefix = true;      // what does not see the condition is computed once for all conditions of an input
  bool cached_keys = true;        // keys and values of the prompts are computed once for all forward passes
  bool block_attention = true;    // CPU: kernels/attention_cpu.h; otherwise LibTorch's
  bool cudnn_attention = true;    // CUDA: cuDNN's attention where LibTorch prefers it; otherwise FlashAttention
  bool cpu_caching_allocator = true;  // CPU: core/cpu_allocator.h; otherwise malloc
  bool pinned_uploads = true;         // CUDA: copies that the host does not wait for
  bool encode_tf32 = true;            // CUDA: the VAE beside a UNet in reduced precision convolves in TF32
  bool encode_ahead = true;           // CUDA: an image is encoded while the one before it is scored

  // CUDA: cuDNN measures its convolutions for each new shape and takes the fastest. Another process may take another,
  // which rounds in another order; without it convolutions are deterministic.
  bool tune = false;

  // All optimizations but the named ones. Throws INVALID_ARGUMENT for a name there is not.
  static EngineOptions without(const std::vector<std::string>& names);
};

// "graphs" and so on, each with its switch.
const std::vector<std::pair<std::string, bool EngineOptions::*>>& optimizations();

}  // namespace diffmine
