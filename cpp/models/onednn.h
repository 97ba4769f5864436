// oneDNN's operators on prepacked weights: multiplied in oneDNN's blocked layouts, which are made once instead of in
// every call. LibTorch ships no C++ header for them, so they are called through the dispatcher.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace diffmine::onednn {

// Whether there are such operators for weights of this dtype on this CPU.
bool can_prepack(at::ScalarType dtype);

// w [out, in, k, k] -> w as conv takes it.
at::Tensor reorder_conv_weight(const at::Tensor& w, int64_t stride, int64_t padding);
at::Tensor conv(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, int64_t stride, int64_t padding);
// conv(x) + other, in one pass.
at::Tensor conv_add(const at::Tensor& x, const at::Tensor& other, const at::Tensor& w, const at::Tensor& b,
                    int64_t stride, int64_t padding);

// w [out, in] -> w as linear takes it.
at::Tensor reorder_linear_weight(const at::Tensor& w);
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b);
// linear(x) + other, in one pass.
at::Tensor linear_add(const at::Tensor& x, const at::Tensor& other, const at::Tensor& w,
                      const std::optional<at::Tensor>& b);

}  // namespace diffmine::onednn
