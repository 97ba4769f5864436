#include "core/backends.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/cpu/Utils.h>

#ifdef DIFFMINE_CUDA
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <iostream>
#endif

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string>

namespace diffmine {

#ifdef DIFFMINE_CUDA
namespace {

// With the shapes and strides of the UNet.
void run_cudnn_attention(const at::Device& device, at::ScalarType dtype) noexcept try {
  const c10::InferenceMode inference;
  const c10::cuda::OptionalCUDAGuard guard(device);
  try {
    const auto packed = at::randn({1, 128, 3, 8, 40}, at::TensorOptions(device).dtype(dtype));
    const auto part = [&](int64_t which, int64_t tokens) {
      return packed.slice(1, 0, tokens).select(2, which).transpose(1, 2);
    };
    at::scaled_dot_product_attention(part(0, 128), part(1, 77), part(2, 77));
    c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    if (what.find("cuDNN") == std::string::npos) throw;
    at::globalContext().setSDPUseCuDNN(false);
    std::cerr << "cuDNN attention is off: " << what.substr(0, what.find('\n')) << std::endl;
  }
} catch (const std::exception&) {
  static_cast<void>(cudaGetLastError());  // no memory, no context: the first work will say so
}

}  // namespace
#endif

void set_up_backends(const at::Device& device) {
  static std::once_flag cpu_done;
  std::call_once(cpu_done, [] { at::globalContext().setUserEnabledNNPACK(false); });
#ifdef DIFFMINE_CUDA
  static std::once_flag done;
  if (!device.is_cuda()) return;
  std::call_once(done, [] {
    auto& context = at::globalContext();
    context.setAllowTF32CuDNN(false);
    context.setAllowTF32CuBLAS(false);
    context.setAllowFP16ReductionCuBLAS(false);
    context.setAllowBF16ReductionCuBLAS(false);
    context.setBenchmarkCuDNN(false);
    context.setDeterministicCuDNN(true);
  });
#else
  (void)device;
#endif
}

void probe_cudnn_attention(const at::Device& device, at::ScalarType dtype) {
#ifdef DIFFMINE_CUDA
  static std::once_flag probed;
  if (device.is_cuda() && dtype != at::kFloat) std::call_once(probed, run_cudnn_attention, device, dtype);
#else
  (void)device, (void)dtype;
#endif
}

bool has_flash_attention(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  int major = 0;
  return device.is_cuda() &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index()) == cudaSuccess && major >= 8;
#else
  (void)device;
  return false;
#endif
}

bool cpu_computes_fp16() {
  static const bool supported = [] {
    if (!at::hasMKLDNN()) return false;
    const auto op = c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_fp16_supported", ""});
    return op && op->typed<bool()>().call();
  }();
  return supported && at::globalContext().userEnabledMkldnn();
}

bool cpu_computes_bf16() {
  static const bool supported = [] {
    if (!at::hasMKLDNN() || at::get_cpu_capability().find("AVX512") == std::string::npos) return false;
    const auto capabilities = at::cpu::get_cpu_capabilities();
    const auto has = [&](const char* name) {
      const auto found = capabilities.find(name);
      return found != capabilities.end() && found->second.isBool() && found->second.toBool();
    };
    // instruction sets of oneDNN that include AVX512-BF16
    const char* const limit = std::getenv("ONEDNN_MAX_CPU_ISA");
    const std::string isa = limit ? limit : "DEFAULT";
    const auto names = {"BF16", "FP16", "AMX", "AVX10", "ALL", "DEFAULT"};
    const bool allowed =
        std::any_of(names.begin(), names.end(), [&](const char* name) { return isa.find(name) != std::string::npos; });
    return allowed && (has("avx512_bf16") || has("amx_bf16"));
  }();
  return supported && at::globalContext().userEnabledMkldnn();
}

}  // namespace diffmine
