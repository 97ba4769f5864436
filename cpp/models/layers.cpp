#include "models/layers.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cudnn_convolution.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "core/device.h"
#include "kernels/ops.h"
#include "models/attention_cpu.h"
#include "models/winograd_cpu.h"
#include "weights/lora.h"
#include "weights/random.h"

namespace diffmine {

// --- loading ---

at::Tensor Loader::take(const std::string& name, at::IntArrayRef shape, std::optional<at::ScalarType> dtype) {
  if (++taken_ % 16 == 0) context_.check_cancelled();
  const at::Tensor stored = weights_.take(name, shape);
  if (!stored.is_floating_point()) {
    throw Error(code::kModelInvalid, "Tensor \"" + name + "\" holds " + std::string(c10::toString(stored.scalar_type())) + ", not floating-point weights.");
  }
  // A sum is finite only if all parts are (an overflow of the sum itself would need weights near 1e38 / n); float64 for fp64 files.
  const auto sum = stored.sum(stored.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  if (!std::isfinite(sum.item<double>()) && !at::isfinite(stored).all().item<bool>()) {
    throw Error(code::kWeightsInvalid, "Tensor \"" + name + "\" holds NaN or infinite weights.", "The file is damaged or the training that wrote it diverged.");
  }
  const bool leaf = parameters_ && !lora_;
  if (leaf) dtype = at::kFloat;
  at::Tensor taken = stored.to(device_, dtype.value_or(dtype_), /*non_blocking=*/false, /*copy=*/true);
  if (dtype.value_or(dtype_) == at::kHalf && !at::isfinite(taken).all().item<bool>()) {
    throw Error(code::kModelUnsupported, "Tensor \"" + name + "\" has weights beyond fp16's range.", "Use --dtype bf16 or fp32.");
  }
  bytes_ += static_cast<int64_t>(taken.nbytes());
  count_ += taken.numel();
  if (leaf) {
    if (taken.dim() == 4) taken = taken.contiguous(at::MemoryFormat::ChannelsLast);
    taken.set_requires_grad(true);
    parameters_->emplace_back(name, taken);
  }
  return taken;
}

std::optional<LoraUpdate> Loader::update(const std::string& name, int64_t in, int64_t out) {
  const auto projects = [&](const char* suffix) { return name.ends_with(suffix); };
  if (!lora_ || !(projects(".to_q") || projects(".to_k") || projects(".to_v") || projects(".to_out.0"))) return {};
  WeightStore initial = initial_weights(lora_->seed);
  const auto leaf = [&](const std::string& path, at::IntArrayRef shape) {
    const auto made = initial.take(path, shape).to(device_, at::kFloat).contiguous().set_requires_grad(true);
    parameters_->emplace_back(path, made);
    return made;
  };
  LoraUpdate update;
  update.down = leaf(lora_down_name(name), {lora_->rank, in});
  update.up = leaf(lora_up_name(name), {out, lora_->rank});
  update.scale = lora_->alpha / static_cast<double>(lora_->rank);
  return update;
}

at::Tensor LoraUpdate::operator()(const at::Tensor& x) const {
  return at::linear(at::linear(x, down.to(x.scalar_type())), (up * scale).to(x.scalar_type()));
}

// --- oneDNN's prepacked operators, through the dispatcher: LibTorch ships no C++ header for them ---

namespace {

using OptionalScalars = torch::List<std::optional<at::Scalar>>;

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_operator(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

at::Tensor blocked_conv(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, int64_t stride, int64_t padding) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, at::IntArrayRef, at::IntArrayRef,
                                                  at::IntArrayRef, int64_t, c10::string_view, torch::List<std::optional<at::Scalar>>, std::optional<c10::string_view>)>(
      "mkldnn::_convolution_pointwise");
  const int64_t s[] = {stride, stride}, p[] = {padding, padding}, d[] = {1, 1};
  return op.call(x, w, b, p, s, d, 1, "none", OptionalScalars(), std::nullopt);
}

at::Tensor blocked_conv_add(const at::Tensor& x, const at::Tensor& other, const at::Tensor& w, const at::Tensor& b, int64_t stride, int64_t padding) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, at::IntArrayRef,
                                                  at::IntArrayRef, at::IntArrayRef, int64_t, c10::string_view, std::optional<at::Scalar>, std::optional<c10::string_view>,
                                                  torch::List<std::optional<at::Scalar>>, std::optional<c10::string_view>)>("mkldnn::_convolution_pointwise", "binary");
  const int64_t s[] = {stride, stride}, p[] = {padding, padding}, d[] = {1, 1};
  return op.call(x, other, w, b, p, s, d, 1, "add", at::Scalar(1), std::nullopt, OptionalScalars(), std::nullopt);
}

at::Tensor reorder_conv_weight(const at::Tensor& w, int64_t stride, int64_t padding) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t, at::OptionalIntArrayRef)>(
      "mkldnn::_reorder_convolution_weight");
  const int64_t s[] = {stride, stride}, p[] = {padding, padding}, d[] = {1, 1};
  return op.call(w, p, s, d, 1, std::nullopt);
}

at::Tensor blocked_linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::string_view,
                                                  torch::List<std::optional<at::Scalar>>, std::optional<c10::string_view>)>("mkldnn::_linear_pointwise");
  return op.call(x, w, b, "none", OptionalScalars(), std::nullopt);
}

at::Tensor blocked_linear_add(const at::Tensor& x, const at::Tensor& other, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::string_view)>(
      "mkldnn::_linear_pointwise", "binary");
  return op.call(x, other, w, b, "add");
}

at::Tensor reorder_linear_weight(const at::Tensor& w) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, std::optional<int64_t>)>("mkldnn::_reorder_linear_weight");
  return op.call(w, std::nullopt);
}

// Not every LibTorch has oneDNN (macOS has none), and its bf16 needs AVX-512 or better: the operators throw elsewhere.
bool can_prepack(const at::Tensor& weight, const Loader& loader) {
  if (!weight.is_cpu() || weight.requires_grad() || loader.differentiable() || !loader.options().prepacked_weights || !at::hasMKLDNN() || !at::globalContext().userEnabledMkldnn()) return false;
  if (weight.scalar_type() == at::kBFloat16) return find_operator<bool()>("mkldnn::_is_mkldnn_bf16_supported").call();
  if (weight.scalar_type() == at::kHalf) return cpu_computes_fp16();
  return weight.scalar_type() == at::kFloat;
}

}  // namespace

// --- Linear ---

namespace {

// Outputs side by side, [out, in] each; [out, in, 1, 1] is the same.
at::Tensor join(const std::vector<at::Tensor>& parts) {
  const auto joined = parts.size() == 1 ? parts.front() : at::cat(parts);
  return joined.dim() == 4 ? joined.flatten(1) : joined;
}

}  // namespace

Linear::Linear(const std::vector<at::Tensor>& weights, const std::vector<at::Tensor>& biases, const Loader& loader) : in_graph_(loader.differentiable()) {
  if (weights.front().requires_grad()) {
    weights_ = weights;
    biases_ = biases;
    return;
  }
  weight_ = join(weights);
  if (!biases.empty()) bias_ = join(biases);
  if (!can_prepack(weight_, loader)) return;
  weight_ = reorder_linear_weight(weight_);
  blocked_ = true;
}

Linear Linear::load(Loader& loader, const std::string& name, int64_t in, int64_t out, bool bias) { return packed(loader, {name}, in, out, bias); }

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

std::pair<Linear, Linear> Linear::load_conv1x1_of_two(Loader& loader, const std::string& name, int64_t first, int64_t in, int64_t out) {
  const auto weight = loader.take(name + ".weight", {out, in, 1, 1});
  const auto part = [&](int64_t from, int64_t to) { return std::vector<at::Tensor>{weight.slice(1, from, to).contiguous()}; };
  return {Linear(part(0, first), {loader.take(name + ".bias", {out})}, loader), Linear(part(first, in), {}, loader)};
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  if (!weights_.empty()) {
    const auto dtype = x.scalar_type();
    return at::linear(x, join(weights_).to(dtype), biases_.empty() ? std::nullopt : std::optional<at::Tensor>(join(biases_).to(dtype)));
  }
  if (!blocked_) {
    const auto y = at::linear(x, weight_, bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt);
    if (updates_.empty()) return y;
    std::vector<at::Tensor> changes;
    for (const auto& update : updates_) changes.push_back(update(x));
    return y + (changes.size() == 1 ? changes.front() : at::cat(changes, -1));
  }
  return blocked_linear(x, weight_, bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt);
}

at::Tensor Linear::add(const at::Tensor& x, const at::Tensor& residual) const {
  if (!blocked_) return (*this)(x).add_(residual);
  return blocked_linear_add(x, residual, weight_, bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt);
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

void Linear::add_bias(const at::Tensor& v) { bias_ = bias_.defined() ? (bias_.to(at::kFloat) + v.to(at::kFloat)).to(bias_.scalar_type()) : v.to(weight_.scalar_type()); }

void Linear::add_input(const at::Tensor& v) {
  if (blocked_ || in_graph_) throw Error(code::kInternal, "These weights are not in their stored layout.");
  add_bias(at::matmul(weight_.to(at::kFloat), v.to(at::kFloat)));
}

at::Tensor Linear::channels(const at::Tensor& x) const { return to_picture((*this)(to_tokens(x)), x.size(2), x.size(3)); }

// --- Conv2d ---

namespace {

// Output channels up to which tensor cores would waste most of a tile.
constexpr int64_t kFewOutputs = 16;

// As at::conv2d chooses it.
bool takes_cudnn(const at::Tensor& weight) {
  if (!weight.is_cuda() || !at::globalContext().userEnabledCuDNN()) return false;
  const auto& hooks = at::detail::getCUDAHooks();
  return hooks.compiledWithCuDNN() && (weight.scalar_type() != at::kBFloat16 || hooks.supportsBFloat16ConvolutionWithCuDNNv8());
}

}  // namespace

Conv2d Conv2d::load(Loader& loader, const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
                    std::optional<at::ScalarType> dtype) {
  Conv2d conv;
  conv.stride_ = stride;
  conv.padding_ = padding;
  conv.weight_ = loader.take(name + ".weight", {out, in, kernel, kernel}, dtype);
  conv.bias_ = loader.take(name + ".bias", {out}, dtype);
  conv.fused_ = !loader.differentiable();
  conv.cudnn_ = conv.fused_ && takes_cudnn(conv.weight_);
  conv.tune_ = loader.options().tune;
  conv.tf32_ = loader.tf32();
  if (!can_prepack(conv.weight_, loader)) {
    conv.weight_ = conv.weight_.contiguous(at::MemoryFormat::ChannelsLast);
  } else if (kernel == 3 && stride == 1 && padding == 1 && loader.options().winograd && winograd_pays(in, out, conv.weight_.scalar_type())) {
    const auto transformed = winograd_weight(conv.weight_);
    loader.kept(conv.weight_, transformed);
    conv.weight_ = transformed;
    conv.form_ = Form::kWinograd;
  } else {
    conv.weight_ = reorder_conv_weight(conv.weight_, stride, padding);
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

at::Tensor Conv2d::out(const at::Tensor& x) const { return form_ == Form::kOut ? ops::conv_out(x, weight_, bias_) : (*this)(x.to(at::kFloat)); }

// Of a convolution with cuDNN, or of any other that has no product with additions.
at::Tensor Conv2d::release_bias() { return form_ == Form::kPlain && fused_ ? std::exchange(bias_, at::Tensor()) : at::Tensor(); }

at::Tensor Conv2d::product(const at::Tensor& x, bool with_bias) const {
  const auto dtype = x.scalar_type();  // a weight to be trained is fp32
  if (cudnn_ && x.numel() > 0) {
    const int64_t s[] = {stride_, stride_}, p[] = {padding_, padding_}, d[] = {1, 1};
    auto y = at::cudnn_convolution(x.contiguous(at::MemoryFormat::ChannelsLast), weight_, p, s, d, 1, tune_, !tune_, tf32_);
    return with_bias ? ops::add_channels_(y.contiguous(at::MemoryFormat::ChannelsLast), bias_.unsqueeze(0)) : y;
  }
  return at::conv2d(x.contiguous(at::MemoryFormat::ChannelsLast), weight_.to(dtype), with_bias ? std::optional<at::Tensor>(bias_.to(dtype)) : std::nullopt,
                    {stride_, stride_}, {padding_, padding_});
}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  switch (form_) {
    case Form::kPlain: return product(x, bias_.defined());
    case Form::kBlocked: return blocked_conv(x.contiguous(at::MemoryFormat::ChannelsLast), weight_, bias_, stride_, padding_);
    case Form::kWinograd: return winograd_conv(x, weight_, bias_);
    case Form::kOut: break;
  }
  return out(x);
}

// cuDNN adds a bias in a pass of its own: there it is added with what follows.
at::Tensor Conv2d::add(const at::Tensor& x, const at::Tensor& residual) const {
  if (!fused_) return (*this)(x).add_(residual);
  switch (form_) {
    case Form::kPlain:
      return ops::add_residual_(product(x, false).contiguous(at::MemoryFormat::ChannelsLast), residual, bias_);
    case Form::kBlocked:
      return blocked_conv_add(x.contiguous(at::MemoryFormat::ChannelsLast), residual.contiguous(at::MemoryFormat::ChannelsLast), weight_, bias_, stride_, padding_);
    case Form::kWinograd: return winograd_conv(x, weight_, bias_, residual);
    case Form::kOut: break;
  }
  return out(x).add_(residual);
}

// --- norms ---

GroupNorm GroupNorm::load(Loader& loader, const std::string& name, int64_t channels, int64_t groups, double eps) {
  if (groups <= 0 || channels % groups != 0) {
    throw Error(code::kModelInvalid, "\"" + name + "\" has " + std::to_string(channels) + " channels, not a multiple of norm_num_groups " + std::to_string(groups) + ".");
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
  // At every pixel; several neighbouring images may share a row.
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

// --- attention ---

namespace {

// Keys from which attention in blocks pays on a CPU: what it packs is little beside what it multiplies.
constexpr int64_t kManyKeys = 64;

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const EngineOptions& options, bool causal) {
  if (q.is_cpu() && !causal && k.size(2) >= kManyKeys && q.size(3) % 2 == 0 && !q.requires_grad() && options.block_attention && has_attention_cpu(q.scalar_type())) {
    return attention_cpu(q, k, v);
  }
  // FlashAttention by name, in place of whatever LibTorch prefers: its preferences are the whole process's.
  if (!options.cudnn_attention && q.scalar_type() != at::kFloat && q.size(3) % 8 == 0 && q.size(3) <= 256 && has_flash_attention(q.device())) {
    return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, 0.0, causal));
  }
  return at::scaled_dot_product_attention(q, k, v, {}, 0.0, causal);
}

at::Tensor split_heads(const at::Tensor& x, int64_t heads) { return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2); }

at::Tensor merge_heads(const at::Tensor& x) { return x.transpose(1, 2).flatten(2); }

at::Tensor to_tokens(const at::Tensor& x) { return x.permute({0, 2, 3, 1}).flatten(1, 2); }

at::Tensor to_picture(const at::Tensor& tokens, int64_t height, int64_t width) { return tokens.unflatten(1, {height, width}).permute({0, 3, 1, 2}); }

SpatialAttention SpatialAttention::load(Loader& loader, const std::string& name, int64_t channels, int64_t heads, int64_t groups, double eps) {
  SpatialAttention block;
  block.heads_ = heads;
  block.options_ = loader.options();
  block.norm_ = GroupNorm::load(loader, name + ".group_norm", channels, groups, eps);
  block.qkv_ = Linear::packed(loader, {name + ".to_q", name + ".to_k", name + ".to_v"}, channels, channels, true);
  block.out_ = Linear::load(loader, name + ".to_out.0", channels, channels);
  return block;
}

at::Tensor SpatialAttention::operator()(const at::Tensor& x, const Watcher& watcher) const {
  auto qkv = qkv_(to_tokens(norm_(x))).chunk(3, -1);
  if (watcher) {
    qkv[0] = watcher("to_q", qkv[0]);
    qkv[1] = watcher("to_k", qkv[1]);
  }
  const auto mixed = attention(split_heads(qkv[0], heads_), split_heads(qkv[1], heads_), split_heads(qkv[2], heads_), options_);
  return to_picture(out_.add(merge_heads(mixed), to_tokens(x)), x.size(2), x.size(3));
}

}  // namespace diffmine
