// The layers that UNet, VAE and text encoder are made of: weights as they are best multiplied on the device, and no
// more.
//
// Activations are [B, C, H, W] in channels_last memory, so that a 1x1 convolution is a Linear over a view.
// On a CPU the weights of convolutions and Linears are kept in oneDNN's blocked layouts only (prepacked once:
// 1.5 to 3 times faster than reordering in every call, see docs/explanation/performance.md), those of 3x3 convolutions
// in fp32 transformed (winograd_cpu.h); norms and what surrounds them are the project's own kernels (kernels/ops.h),
// their weights in fp32. Layers that take part in a graph use ATen's operators. Those to be trained keep each stored
// tensor as a leaf of the graph, in fp32, and make of it in every pass what is multiplied: joined, and in the precision
// of the input.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/ops.h"
#include "models/loader.h"

namespace diffmine {

// y = x W^T + b over the last dimension.
class Linear {
 public:
  Linear() = default;
  static Linear load(Loader& loader, const std::string& name, int64_t in, int64_t out, bool bias = true);
  // Several Linears of one input as one: outputs side by side.
  static Linear packed(Loader& loader, const std::vector<std::string>& names, int64_t in, int64_t out_each, bool bias);
  // The weights of a 1x1 convolution [out, in, 1, 1].
  static Linear load_conv1x1(Loader& loader, const std::string& name, int64_t in, int64_t out);

  // A 1x1 convolution of two inputs, [first | in - first] channels, as two Linears whose results add up; only the first
  // has the bias.
  static std::pair<Linear, Linear> load_conv1x1_of_two(Loader& loader, const std::string& name, int64_t first,
                                                       int64_t in, int64_t out);

  at::Tensor operator()(const at::Tensor& x) const;
  // linear(x) + residual, in one pass where the backend can.
  at::Tensor add(const at::Tensor& x, const at::Tensor& residual) const;
  // The same, accumulated into `sum` where the product can do so; `sum` must not be used again. Without a graph that is
  // everywhere but in oneDNN's layout, whose product adds while it writes.
  at::Tensor add_to(at::Tensor sum, const at::Tensor& x) const;
  // Over the channels of x [B, C, H, W].
  at::Tensor channels(const at::Tensor& x) const;

  // Constants that need no pass of their own, moved between layers when a model is loaded:
  at::Tensor release_bias();  // the bias, if it would cost a pass after add_to; from then on the caller adds it.
                              // Otherwise undefined.
  void add_bias(const at::Tensor& v);   // y += v [out]
  void add_input(const at::Tensor& v);  // y = linear(x + v [in]); not for oneDNN's layout

 private:
  Linear(const std::vector<at::Tensor>& weights, const std::vector<at::Tensor>& biases,
         const Loader& loader);               // [out, in] or [out, in, 1, 1] each, [out] each or none
  at::Tensor weight_, bias_;                  // joined, once for all
  std::vector<at::Tensor> weights_, biases_;  // to be trained: as stored
  std::vector<LoraUpdate> updates_;           // to be trained: one for each of the joined, or none
  bool blocked_ = false;                      // in oneDNN's layout
  bool in_graph_ = false;                     // of a model to be trained
};

// A convolution with a square kernel.
class Conv2d {
 public:
  Conv2d() = default;
  static Conv2d load(Loader& loader, const std::string& name, int64_t in, int64_t out, int64_t kernel,
                     int64_t stride = 1, int64_t padding = 1, std::optional<at::ScalarType> dtype = {});
  at::Tensor operator()(const at::Tensor& x) const;
  // conv(x) + residual, in one pass where the backend can.
  at::Tensor add(const at::Tensor& x, const at::Tensor& residual) const;
  // The bias, if the backend would add it in a separate pass; from then on the caller adds it. Otherwise undefined.
  at::Tensor release_bias();

  // A 3x3 convolution to few channels in fp32, which takes x in any dtype.
  static Conv2d load_out(Loader& loader, const std::string& name, int64_t in, int64_t out);
  at::Tensor out(const at::Tensor& x) const;

 private:
  at::Tensor product(const at::Tensor& x, bool with_bias) const;
  enum class Form {
    kPlain,
    kBlocked,
    kWinograd,
    kOut
  };  // of the weight: as stored, in oneDNN's layout, transformed, kernels/conv_out.h
  at::Tensor weight_, bias_;
  int64_t stride_ = 1, padding_ = 1;
  Form form_ = Form::kPlain;
  bool fused_ = false;  // outside of any graph: additions in the same pass
  // cuDNN is called with the layer's settings outside of any graph; a graph's gradients have those of the process
  // (core/device.h).
  bool cudnn_ = false, tune_ = false, tf32_ = false;
};

class GroupNorm {
 public:
  GroupNorm() = default;
  static GroupNorm load(Loader& loader, const std::string& name, int64_t channels, int64_t groups, double eps);
  at::Tensor operator()(const at::Tensor& x) const { return norm(x, {}); }
  // SiLU(norm(x)), with what may precede and follow the norm (kernels/ops.h).
  at::Tensor silu(const at::Tensor& x, ops::GroupNormOptions options = {}) const {
    options.silu = true;
    return norm(x, options);
  }
  // From now on the norm is of x + v [C]: a bias that was released.
  void add_input(const at::Tensor& v);

 private:
  at::Tensor norm(const at::Tensor& x, ops::GroupNormOptions options) const;
  at::Tensor weight_, bias_;
  at::Tensor input_;  // [1, C] fp32, or undefined
  int64_t groups_ = 1;
  double eps_ = 1e-5;
  bool fused_ = false;
};

class LayerNorm {
 public:
  LayerNorm() = default;
  static LayerNorm load(Loader& loader, const std::string& name, int64_t size, double eps);
  at::Tensor operator()(const at::Tensor& x) const;
  // From now on the norm is of x + v [C]: biases that were released.
  void add_input(const at::Tensor& v);

 private:
  at::Tensor weight_, bias_;
  at::Tensor input_;  // [C] fp32, or undefined
  double eps_ = 1e-5;
  bool fused_ = false;
};

// [B, C, H, W] (channels_last) <-> [B, H W, C], views where memory allows.
at::Tensor to_tokens(const at::Tensor& x);
at::Tensor to_image(const at::Tensor& tokens, int64_t height, int64_t width);

}  // namespace diffmine
