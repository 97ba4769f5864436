#include "models/layers.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cudnn_convolution.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/silu.h>

#include <utility>

#include "core/error.h"
#include "kernels/ops.h"
#include "kernels/winograd_cpu.h"
#include "models/onednn.h"

namespace diffmine {

// --- Linear ---

namespace {

// Outputs side by side, [out, in] each; [out, in, 1, 1] is the same.
at::Tensor concatenate(const std::vector<at::Tensor>& parts) {
  const auto whole = parts.size() == 1 ? parts.front() : at::cat(parts);
  return whole.dim() == 4 ? whole.flatten(1) : whole;
}

bool prepacks(const at::Tensor& weight, const Loader& loader) {
  return weight.is_cpu() && !weight.requires_grad() && !loader.differentiable() && loader.options().prepacked_weights &&
         onednn::can_prepack(weight.scalar_type());
}

}  // namespace

Linear::Linear(const std::vector<at::Tensor>& weights, const std::vector<at::Tensor>& biases, const Loader& loader)
    : in_graph_(loader.differentiable()) {
  if (weights.front().requires_grad()) {
    weights_ = weights;
    biases_ = biases;
    return;
  }
  weight_ = concatenate(weights);
  if (!biases.empty()) bias_ = concatenate(biases);
  if (!prepacks(weight_, loader)) return;
  weight_ = onednn::reorder_linear_weight(weight_);
  blocked_ = true;
}

Linear Linear::load(Loader& loader, const std::string& name, int64_t in, int64_t out, bool bias) {
  return packed(loader, {name}, in, out, bias);
}

Linear Linear::packed(Loader& loader, const std::vector<std::string>& names, int64_t in, int64_t out_each, bool bias) {
  std::vector<at::Tensor> weights, biases;
  std::vector<LoraUpdate> updates;
  for (const auto& name : names) {
    weights.push_back(loader.take(name + ".weight", {out_each, in}));
    if (bias) biases.push_back(loader.take(name + ".bias", {out_each}));
    if (auto update = loader.update(name, in, out_each)) updates.push_back(*std::move(update));
  }
  Linear linear(weights, biases, loader);
  linear.updates_ = std::move(updates);
  return linear;
}

Linear Linear::load_conv1x1(Loader& loader, const std::string& name, int64_t in, int64_t out) {
  auto weight = loader.take(name + ".weight", {out, in, 1, 1});
  return {{std::move(weight)}, {loader.take(name + ".bias", {out})}, loader};
}

std::pair<Linear, Linear> Linear::load_conv1x1_of_two(Loader& loader, const std::string& name, int64_t first,
                                                      int64_t in, int64_t out) {
  const auto weight = loader.take(name + ".weight", {out, in, 1, 1});
  const auto part = [&](int64_t from, int64_t to) {
    return std::vector<at::Tensor>{weight.slice(1, from, to).contiguous()};
  };
  return {Linear(part(0, first), {loader.take(name + ".bias", {out})}, loader), Linear(part(first, in), {}, loader)};
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  if (!weights_.empty()) {
    const auto dtype = x.scalar_type();
    return at::linear(x, concatenate(weights_).to(dtype),
                      biases_.empty() ? std::nullopt : std::optional<at::Tensor>(concatenate(biases_).to(dtype)));
  }
  if (!blocked_) {
    const auto y = at::linear(x, weight_, bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt);
    if (updates_.empty()) return y;
    std::vector<at::Tensor> changes;
    for (const auto& update : updates_) changes.push_back(update(x));
    return y + (changes.size() == 1 ? changes.front() : at::cat(changes, -1));
  }
  return onednn::linear(x, weight_, bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt);
}

at::Tensor Linear::add(const at::Tensor& x, const at::Tensor& residual) const {
  if (!blocked_) return (*this)(x).add_(residual);
  return onednn::linear_add(x, residual, weight_, bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt);
}

at::Tensor Linear::add_to(at::Tensor sum, const at::Tensor& x) const {
  if (blocked_ || in_graph_ || !sum.is_contiguous()) return add(x, sum);
  sum.flatten(0, -2).addmm_(x.flatten(0, -2), weight_.t());
  return bias_.defined() ? sum.add_(bias_) : sum;
}

at::Tensor Linear::release_bias() {
  if (blocked_ || in_graph_) return {};
  return std::exchange(bias_, at::Tensor());
}

void Linear::add_bias(const at::Tensor& v) {
  bias_ =
      bias_.defined() ? (bias_.to(at::kFloat) + v.to(at::kFloat)).to(bias_.scalar_type()) : v.to(weight_.scalar_type());
}

void Linear::add_input(const at::Tensor& v) {
  if (blocked_ || in_graph_) throw Error(code::kInternal, "These weights are not in their stored layout.");
  add_bias(at::matmul(weight_.to(at::kFloat), v.to(at::kFloat)));
}

at::Tensor Linear::channels(const at::Tensor& x) const { return to_image((*this)(to_tokens(x)), x.size(2), x.size(3)); }

// --- Conv2d ---

namespace {

// Output channels up to which tensor cores would waste most of a tile.
constexpr int64_t kFewOutputs = 16;

// As at::conv2d chooses it.
bool takes_cudnn(const at::Tensor& weight) {
  if (!weight.is_cuda() || !at::globalContext().userEnabledCuDNN()) return false;
  const auto& hooks = at::detail::getCUDAHooks();
  return hooks.compiledWithCuDNN() &&
         (weight.scalar_type() != at::kBFloat16 || hooks.supportsBFloat16ConvolutionWithCuDNNv8());
}

}  // namespace

Conv2d Conv2d::load(Loader& loader, const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                    int64_t padding, std::optional<at::ScalarType> dtype) {
  Conv2d conv;
  conv.stride_ = stride;
  conv.padding_ = padding;
  conv.weight_ = loader.take(name + ".weight", {out, in, kernel, kernel}, dtype);
  conv.bias_ = loader.take(name + ".bias", {out}, dtype);
  conv.fused_ = !loader.differentiable();
  conv.cudnn_ = conv.fused_ && takes_cudnn(conv.weight_);
  conv.tune_ = loader.options().tune;
  conv.tf32_ = loader.tf32();
  if (!prepacks(conv.weight_, loader)) {
    conv.weight_ = conv.weight_.contiguous(at::MemoryFormat::ChannelsLast);
  } else if (kernel == 3 && stride == 1 && padding == 1 && loader.options().winograd &&
             winograd_pays(in, out, conv.weight_.scalar_type())) {
    const auto transformed = winograd_weight(conv.weight_);
    loader.kept(conv.weight_, transformed);
    conv.weight_ = transformed;
    conv.form_ = Form::kWinograd;
  } else {
    conv.weight_ = onednn::reorder_conv_weight(conv.weight_, stride, padding);
    conv.form_ = Form::kBlocked;
  }
  return conv;
}

Conv2d Conv2d::load_out(Loader& loader, const std::string& name, int64_t in, int64_t out) {
  Conv2d conv = load(loader, name, in, out, 3);
  if (conv.form_ == Form::kPlain && conv.fused_ && conv.weight_.scalar_type() == at::kFloat && out <= kFewOutputs) {
    conv.weight_ = ops::conv_out_weight(conv.weight_.contiguous());
    conv.form_ = Form::kOut;
  }
  return conv;
}

at::Tensor Conv2d::out(const at::Tensor& x) const {
  return form_ == Form::kOut ? ops::conv_out(x, weight_, bias_) : (*this)(x.to(at::kFloat));
}

// Of a convolution with cuDNN, or of any other that has no product with additions.
at::Tensor Conv2d::release_bias() {
  return form_ == Form::kPlain && fused_ ? std::exchange(bias_, at::Tensor()) : at::Tensor();
}

at::Tensor Conv2d::product(const at::Tensor& x, bool with_bias) const {
  const auto dtype = x.scalar_type();  // a weight to be trained is fp32
  if (cudnn_ && x.numel() > 0) {
    const int64_t s[] = {stride_, stride_}, p[] = {padding_, padding_}, d[] = {1, 1};
    auto y =
        at::cudnn_convolution(x.contiguous(at::MemoryFormat::ChannelsLast), weight_, p, s, d, 1, tune_, !tune_, tf32_);
    return with_bias ? ops::add_channels_(y.contiguous(at::MemoryFormat::ChannelsLast), bias_.unsqueeze(0)) : y;
  }
  return at::conv2d(x.contiguous(at::MemoryFormat::ChannelsLast), weight_.to(dtype),
                    with_bias ? std::optional<at::Tensor>(bias_.to(dtype)) : std::nullopt, {stride_, stride_},
                    {padding_, padding_});
}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  // oneDNN in LibTorch 2.13 gives garbage in bf16 for a stride above 1 where the output is one cell wide. Columns that
  // are padding anyway make it two.
  if (stride_ > 1 && x.is_cpu() && x.scalar_type() != at::kFloat &&
      (x.size(3) + 2 * padding_ - weight_.size(3)) / stride_ == 0) {
    const auto wider = (*this)(at::constant_pad_nd(x, {0, stride_}));
    return wider.slice(3, 0, 1).contiguous(at::MemoryFormat::ChannelsLast);
  }
  switch (form_) {
    case Form::kPlain: return product(x, bias_.defined());
    case Form::kBlocked:
      return onednn::conv(x.contiguous(at::MemoryFormat::ChannelsLast), weight_, bias_, stride_, padding_);
    case Form::kWinograd: return winograd_conv(x, weight_, bias_);
    case Form::kOut: break;
  }
  return out(x);
}

// cuDNN adds a bias in a separate pass: there it is added with the residual.
at::Tensor Conv2d::add(const at::Tensor& x, const at::Tensor& residual) const {
  if (!fused_) return (*this)(x).add_(residual);
  switch (form_) {
    case Form::kPlain:
      return ops::add_residual_(product(x, false).contiguous(at::MemoryFormat::ChannelsLast), residual, bias_);
    case Form::kBlocked:
      return onednn::conv_add(x.contiguous(at::MemoryFormat::ChannelsLast),
                              residual.contiguous(at::MemoryFormat::ChannelsLast), weight_, bias_, stride_, padding_);
    case Form::kWinograd: return winograd_conv(x, weight_, bias_, residual);
    case Form::kOut: break;
  }
  return out(x).add_(residual);
}

// --- norms ---

GroupNorm GroupNorm::load(Loader& loader, const std::string& name, int64_t channels, int64_t groups, double eps) {
  if (groups <= 0 || channels % groups != 0) {
    throw Error(code::kModelInvalid, "\"" + name + "\" has " + std::to_string(channels) +
                                         " channels, not a multiple of norm_num_groups " + std::to_string(groups) +
                                         ".");
  }
  GroupNorm norm;
  norm.fused_ = !loader.differentiable() && loader.options().group_norm;
  const auto dtype = norm.fused_ ? at::kFloat : loader.dtype();
  norm.weight_ = loader.take(name + ".weight", {channels}, dtype);
  norm.bias_ = loader.take(name + ".bias", {channels}, dtype);
  norm.groups_ = groups;
  norm.eps_ = eps;
  return norm;
}

void GroupNorm::add_input(const at::Tensor& v) { input_ = v.to(at::kFloat).unsqueeze(0); }

at::Tensor GroupNorm::norm(const at::Tensor& x, ops::GroupNormOptions options) const {
  if (input_.defined()) options.add = options.add.defined() ? options.add + input_ : input_;
  if (fused_) return ops::group_norm(x, weight_, bias_, groups_, eps_, options);
  const auto dtype = x.scalar_type();
  // At every pixel; several neighboring images may share a row.
  const auto everywhere = [&](const at::Tensor& v) {
    const auto rows = v.size(0) == x.size(0) ? v : v.repeat_interleave(x.size(0) / v.size(0), 0);
    return rows.unsqueeze(-1).unsqueeze(-1).to(dtype);
  };
  auto y = options.beside.defined() ? at::cat(std::vector<at::Tensor>{x, options.beside}, 1) : x;
  if (options.add.defined()) y = y + everywhere(options.add);
  y = at::group_norm(y, groups_, weight_.to(dtype), bias_.to(dtype), eps_);
  if (options.scale.defined()) y = y * (everywhere(options.scale) + 1) + everywhere(options.shift);
  return options.silu ? at::silu(y) : y;
}

LayerNorm LayerNorm::load(Loader& loader, const std::string& name, int64_t size, double eps) {
  LayerNorm norm;
  norm.fused_ = !loader.differentiable();
  const auto dtype = norm.fused_ ? at::kFloat : loader.dtype();
  norm.weight_ = loader.take(name + ".weight", {size}, dtype);
  norm.bias_ = loader.take(name + ".bias", {size}, dtype);
  norm.eps_ = eps;
  return norm;
}

void LayerNorm::add_input(const at::Tensor& v) { input_ = v.to(at::kFloat); }

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  if (fused_) return ops::layer_norm(x, weight_, bias_, eps_, input_);
  return at::layer_norm(x, weight_.sizes(), weight_.to(x.scalar_type()), bias_.to(x.scalar_type()), eps_);
}

// --- views ---

at::Tensor to_tokens(const at::Tensor& x) { return x.permute({0, 2, 3, 1}).flatten(1, 2); }

at::Tensor to_image(const at::Tensor& tokens, int64_t height, int64_t width) {
  return tokens.unflatten(1, {height, width}).permute({0, 3, 1, 2});
}

}  // namespace diffmine
