#include "models/onednn.h"

#include <ATen/Context.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "core/backends.h"

namespace diffmine::onednn {
namespace {

using OptionalScalars = c10::List<std::optional<at::Scalar>>;

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_operator(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

}  // namespace

// Not every LibTorch has oneDNN (macOS has none), and its bf16 needs AVX-512 or better: the operators throw elsewhere.
bool can_prepack(at::ScalarType dtype) {
  if (!at::hasMKLDNN() || !at::globalContext().userEnabledMkldnn()) return false;
  if (dtype == at::kBFloat16) return find_operator<bool()>("mkldnn::_is_mkldnn_bf16_supported").call();
  if (dtype == at::kHalf) return cpu_computes_fp16();
  return dtype == at::kFloat;
}

at::Tensor conv(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, int64_t stride, int64_t padding) {
  static const auto op =
      find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, at::IntArrayRef,
                               at::IntArrayRef, at::IntArrayRef, int64_t, c10::string_view,
                               c10::List<std::optional<at::Scalar>>, std::optional<c10::string_view>)>(
          "mkldnn::_convolution_pointwise");
  const int64_t s[] = {stride, stride}, p[] = {padding, padding}, d[] = {1, 1};
  return op.call(x, w, b, p, s, d, 1, "none", OptionalScalars(), std::nullopt);
}

at::Tensor conv_add(const at::Tensor& x, const at::Tensor& other, const at::Tensor& w, const at::Tensor& b,
                    int64_t stride, int64_t padding) {
  static const auto op = find_operator<at::Tensor(
      const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, at::IntArrayRef,
      at::IntArrayRef, at::IntArrayRef, int64_t, c10::string_view, std::optional<at::Scalar>,
      std::optional<c10::string_view>, c10::List<std::optional<at::Scalar>>, std::optional<c10::string_view>)>(
      "mkldnn::_convolution_pointwise", "binary");
  const int64_t s[] = {stride, stride}, p[] = {padding, padding}, d[] = {1, 1};
  return op.call(x, other, w, b, p, s, d, 1, "add", at::Scalar(1), std::nullopt, OptionalScalars(), std::nullopt);
}

at::Tensor reorder_conv_weight(const at::Tensor& w, int64_t stride, int64_t padding) {
  static const auto op =
      find_operator<at::Tensor(const at::Tensor&, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t,
                               at::OptionalIntArrayRef)>("mkldnn::_reorder_convolution_weight");
  const int64_t s[] = {stride, stride}, p[] = {padding, padding}, d[] = {1, 1};
  return op.call(w, p, s, d, 1, std::nullopt);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  static const auto op =
      find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::string_view,
                               c10::List<std::optional<at::Scalar>>, std::optional<c10::string_view>)>(
          "mkldnn::_linear_pointwise");
  return op.call(x, w, b, "none", OptionalScalars(), std::nullopt);
}

at::Tensor linear_add(const at::Tensor& x, const at::Tensor& other, const at::Tensor& w,
                      const std::optional<at::Tensor>& b) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                  const std::optional<at::Tensor>&, c10::string_view)>(
      "mkldnn::_linear_pointwise", "binary");
  return op.call(x, other, w, b, "add");
}

at::Tensor reorder_linear_weight(const at::Tensor& w) {
  static const auto op =
      find_operator<at::Tensor(const at::Tensor&, std::optional<int64_t>)>("mkldnn::_reorder_linear_weight");
  return op.call(w, std::nullopt);
}

}  // namespace diffmine::onednn
