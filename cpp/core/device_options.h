// Devices and dtypes as options name them.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace diffmine {

// "cpu", "cuda", "cuda:1". Throws DEVICE_UNAVAILABLE if there is no such device.
at::Device parse_device(const std::string& text);

// "fp32", "bf16", "fp16". fp16 throws DEVICE_UNAVAILABLE, with the reason, on a CPU without instructions for it.
at::ScalarType parse_dtype(const std::string& text, const at::Device& device);

}  // namespace diffmine
