// The forward pass follows diffusers' UNet2DConditionModel; what differs is said where it happens:
// inputs that share a condition-free prefix stay one row until the condition first enters (Pass::expand).
#include "models/unet.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <c10/core/InferenceMode.h>

#include <cmath>
#include <tuple>
#include <utility>

#include "core/backends.h"
#include "core/error.h"
#include "models/attention.h"
#include "models/checkpoint.h"
#include "models/layers.h"
#include "models/resnet.h"
#include "models/transformer.h"
#include "models/unet_pass.h"

namespace diffmine {

int64_t UNetConditions::bytes() const {
  int64_t bytes = 0;
  for (const auto& held : {embeddings, pooled, text}) bytes += held.defined() ? static_cast<int64_t>(held.nbytes()) : 0;
  for (const auto& [keys, values] : keys_values) bytes += keys.nbytes() + values.nbytes();
  return bytes;
}

namespace {

// x: one tensor, or two with consecutive channels.
at::Tensor run(const ResnetBlock& block, std::vector<at::Tensor> x, const Pass& pass) {
  if (x.size() > 1 && !block.takes_two) x = {at::cat(x, 1)};
  auto h = block.first_half(x);
  const auto time =
      block.time_proj(pass.time);  // of fewer rows than h once a condition has entered: neighbors share one
  if (time.size(0) > h.size(0)) h = pass.expand(h);  // a class enters with its first time embedding
  if (block.scale_shift) {
    const auto parts = time.chunk(2, 1);
    h = block.norm2.silu(h, {.scale = parts[0], .shift = parts[1]});
  } else {
    h = block.norm2.silu(h, {.add = time});
  }
  auto residual = block.residual(x);
  pass.align(h, residual);
  if (pass.observer) return pass.see(block.path, pass.see(block.path + ".conv2", block.conv2(h)) + residual);
  return block.conv2.add(h, residual);
}

struct Block {
  std::string path;
  std::vector<ResnetBlock> resnets;
  std::vector<Transformer> transformers;     // one a resnet, or
  std::vector<SpatialAttention> attentions;  // one a resnet, or none
  Conv2d resample;
  bool has_resample = false;

  // A residual block with its attention. x: one tensor, or several with consecutive channels.
  at::Tensor layer(size_t i, const std::vector<at::Tensor>& x, const Pass& pass) const {
    if (pass.checkpointing) return checkpointed_layer(i, x, pass);
    auto h = diffmine::run(resnets[i], x, pass);
    if (i < transformers.size()) h = transformers[i].run(h, pass);
    if (i < attentions.size()) {
      const std::string name = path + ".attentions." + std::to_string(i);
      h = pass.see(name, attentions[i](h, pass.observer));
    }
    return h;
  }

  // All that gradients flow into is an input: x, the time embedding, keys and values. The pass is gone when its
  // gradient is computed.
  at::Tensor checkpointed_layer(size_t i, const std::vector<at::Tensor>& x, const Pass& pass) const {
    auto inputs = x;
    inputs.push_back(pass.time);
    if (i < transformers.size()) {
      for (const auto& b : transformers[i].blocks) {
        const auto& [keys, values] = pass.conditions.keys_values[b.cross_index];
        inputs.insert(inputs.end(), {keys, values});
      }
    }
    return checkpoint(
        [this, i, count = x.size(), index = pass.index, rows = pass.inputs,
         fan_out = pass.fan_out](const std::vector<at::Tensor>& inputs) {
          UNetConditions conditions;
          size_t next = count;
          const at::Tensor time = inputs[next++];
          if (i < transformers.size()) {
            conditions.keys_values.resize(transformers[i].blocks.back().cross_index + 1);
            for (const auto& b : transformers[i].blocks) {
              conditions.keys_values[b.cross_index] = {inputs[next], inputs[next + 1]};
              next += 2;
            }
          }
          return layer(i, {inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(count)},
                       Pass{conditions, index, rows, fan_out, time, nullptr});
        },
        inputs);
  }
};

std::string number(int64_t n) { return std::to_string(n); }

constexpr int64_t kTimeIds = 6;  // heights first: original size, corner of the crop, target size

}  // namespace

struct UNet::Impl {
  UNetConfig config;
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  EngineOptions options;
  bool checkpointing = false;
  std::optional<LoraOptions> lora;
  Conv2d conv_in, conv_out;
  Linear time1, time2, add1, add2;
  at::Tensor class_embedding;  // [classes, T] fp32
  std::vector<Block> down, up;
  Block mid;
  GroupNorm norm_out;
  size_t cross_count = 0;
  int64_t bytes = 0, count = 0;
  Parameters parameters;

  int64_t time_channels() const { return 4 * config.block_out_channels.front(); }

  // Where the attention of one layer comes from: `kind` is a block type of the config.
  // Of the `in` channels the first `first` may come as a tensor of their own.
  void add_layer(Loader& loader, Block& block, const std::string& kind, int64_t in, int64_t out, size_t level,
                 int64_t first = 0) {
    const auto n = number(static_cast<int64_t>(block.resnets.size()));
    block.resnets.push_back(
        ResnetBlock::load(loader, block.path + ".resnets." + n, in, out,
                          {time_channels(), config.norm_num_groups, config.norm_eps, config.scale_shift, first}));
    if (kind.starts_with("CrossAttn")) {
      block.transformers.push_back(Transformer::load(loader, block.path + ".attentions." + n, config, out,
                                                     config.attention_head_dim[level], config.transformer_layers[level],
                                                     cross_count));
    } else if (kind.starts_with("Attn")) {
      const int64_t size = config.attention_head_dim[level];
      if (size <= 0 || out % size != 0) {
        throw Error(code::kModelUnsupported, "\"" + block.path + "\": attention_head_dim " + number(size) +
                                                 " does not divide its " + number(out) + " channels.");
      }
      block.attentions.push_back(SpatialAttention::load(loader, block.path + ".attentions." + n, out, out / size,
                                                        config.norm_num_groups, config.norm_eps));
    }
  }

  static void check(const UNetConfig& c) {
    const size_t n = c.block_out_channels.size();
    if (n == 0 || c.down_block_types.size() != n || c.up_block_types.size() != n || c.attention_head_dim.size() != n ||
        c.transformer_layers.size() != n) {
      throw Error(code::kModelInvalid, "The UNet's config has lists of different lengths for its blocks.",
                  "block_out_channels, down_block_types, up_block_types, attention_head_dim and "
                  "transformer_layers_per_block must agree.");
    }
    if (c.block_out_channels[0] % 2)
      throw Error(code::kModelUnsupported,
                  "The UNet's first block_out_channels is odd; the time embedding needs an even number.");
    const auto known = [](const std::vector<std::string>& types, const std::string& suffix) {
      for (const auto& t : types) {
        if (t != "CrossAttn" + suffix && t != "Attn" + suffix && t != suffix)
          throw Error(code::kModelUnsupported, "The UNet has a block of type \"" + t + "\", which is not supported.",
                      "Supported: " + suffix + ", CrossAttn" + suffix + ", Attn" + suffix + ".");
      }
    };
    known(c.down_block_types, "DownBlock2D");
    known(c.up_block_types, "UpBlock2D");
    if (c.mid_block_type != "UNetMidBlock2DCrossAttn" && c.mid_block_type != "UNetMidBlock2D") {
      throw Error(code::kModelUnsupported, "The UNet's mid_block_type \"" + c.mid_block_type + "\" is not supported.",
                  "Supported: UNetMidBlock2DCrossAttn, UNetMidBlock2D.");
    }
    if ((c.pooled_dim > 0) != (c.size_embed_dim > 0) || c.size_embed_dim % 2) {
      throw Error(code::kModelUnsupported, "The UNet's addition_time_embed_dim " + number(c.size_embed_dim) +
                                               " beside pooled embeddings of " + number(c.pooled_dim) +
                                               " is not supported.");
    }
    if (c.pixel_fold != 1 && c.pixel_fold != 2)
      throw Error(code::kModelUnsupported, "pixel_fold " + number(c.pixel_fold) + " is not supported.",
                  "Supported: 1 and 2.");
  }

  void load(WeightStore& weights, const Context& context, bool trainable) {
    check(config);
    Parameters* const leaves = trainable ? &parameters : nullptr;
    const LoraOptions* const updates = lora ? &*lora : nullptr;
    Loader loader(weights, device, dtype, context, options, leaves, updates);
    Loader exact(weights, device, at::kFloat, context, options, leaves,
                 updates);  // the time embedding and the last convolution stay in fp32
    const auto& channels = config.block_out_channels;
    const size_t levels = channels.size();

    conv_in = Conv2d::load(loader, "conv_in", config.in_channels, channels[0], 3);
    time1 = Linear::load(exact, "time_embedding.linear_1", channels[0], time_channels());
    time2 = Linear::load(exact, "time_embedding.linear_2", time_channels(), time_channels());
    if (config.pooled_dim) {
      add1 = Linear::load(exact, "add_embedding.linear_1", config.pooled_dim + kTimeIds * config.size_embed_dim,
                          time_channels());
      add2 = Linear::load(exact, "add_embedding.linear_2", time_channels(), time_channels());
    }
    if (config.num_class_embeds)
      class_embedding = exact.take("class_embedding.weight", {config.num_class_embeds, time_channels()});

    std::vector<int64_t> skips{channels[0]};  // channels of the skips to the up blocks
    int64_t in = channels[0];
    for (size_t b = 0; b < levels; ++b) {
      Block block;
      block.path = "down_blocks." + number(b);
      for (int64_t i = 0; i < config.layers_per_block; ++i) {
        add_layer(loader, block, config.down_block_types[b], in, channels[b], b);
        in = channels[b];
        skips.push_back(in);
      }
      if (b + 1 < levels) {
        block.resample = Conv2d::load(loader, block.path + ".downsamplers.0.conv", in, in, 3, 2, 1);
        block.has_resample = true;
        skips.push_back(in);
      }
      down.push_back(std::move(block));
    }

    mid.path = "mid_block";
    add_layer(loader, mid, config.mid_block_type == "UNetMidBlock2DCrossAttn" ? "CrossAttn" : "", in, in, levels - 1);
    if (config.mid_block_type == "UNetMidBlock2DCrossAttn") add_layer(loader, mid, "", in, in, levels - 1);

    for (size_t b = 0; b < levels; ++b) {
      const size_t level = levels - 1 - b;
      Block block;
      block.path = "up_blocks." + number(b);
      for (int64_t i = 0; i <= config.layers_per_block; ++i) {
        add_layer(loader, block, config.up_block_types[b], in + skips.back(), channels[level], level, in);
        skips.pop_back();
        in = channels[level];
      }
      if (b + 1 < levels) {
        block.resample = Conv2d::load(loader, block.path + ".upsamplers.0.conv", in, in, 3);
        block.has_resample = true;
      }
      up.push_back(std::move(block));
    }
    norm_out = GroupNorm::load(loader, "conv_norm_out", channels[0], config.norm_num_groups, config.norm_eps);
    conv_out = Conv2d::load_out(exact, "conv_out", channels[0], config.out_channels);
    weights.expect_all_taken({});
    bytes = loader.bytes() + exact.bytes();
    count = loader.count() + exact.count();
  }

  // Sinusoids [n, channels] fp32 of values [n].
  at::Tensor sinusoids(const at::Tensor& values, int64_t channels) const {
    const int64_t half = channels / 2;
    const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
    const auto frequency =
        at::exp(at::arange(half, options) * (-std::log(10000.0) / (static_cast<double>(half) - config.freq_shift)));
    const auto angle = values.to(options).unsqueeze(1) * frequency.unsqueeze(0);
    const auto cosines = at::cos(angle), sines = at::sin(angle);
    return at::cat(
        config.flip_sin_to_cos ? std::vector<at::Tensor>{cosines, sines} : std::vector<at::Tensor>{sines, cosines}, 1);
  }

  // Pooled text [n, P] beside time ids [n or 1, 6] -> [n, time_channels] fp32.
  at::Tensor added_embedding(const at::Tensor& pooled, const at::Tensor& time_ids) const {
    const auto sizes = sinusoids(time_ids.flatten(), config.size_embed_dim).view({time_ids.size(0), -1});
    return add2(at::silu(add1(at::cat({pooled, sizes.expand({pooled.size(0), -1})}, 1))));
  }

  // [1, 6] on the device, made there: a pass may not wait for a copy. Images are seen whole: their original size is
  // their own, from the corner 0, 0.
  at::Tensor time_ids(const PixelSize& size) const {
    if (size == PixelSize{})
      throw Error(code::kInvalidArgument, "This model is conditioned on the image's size: give height and width.");
    std::vector<at::Tensor> ids;
    for (const int64_t id : {size.height, size.width, int64_t{0}, int64_t{0}, size.height, size.width})
      ids.push_back(at::full({1}, id, at::TensorOptions().dtype(at::kFloat).device(device)));
    return at::cat(ids).unsqueeze(0);
  }

  at::Tensor time_embedding(const at::Tensor& t, const Pass& pass) const {
    auto waves = sinusoids(t, config.block_out_channels[0]);
    waves = pass.see("time_proj", std::move(waves));
    return pass.see("time_embedding", time2(at::silu(time1(waves))));
  }

  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, Pass& pass) const {
    auto time = time_embedding(t, pass);
    const auto& [embeddings, pooled] = std::tie(pass.conditions.embeddings, pass.conditions.pooled);
    if (embeddings.defined()) time = pass.expand(time) + embeddings.index_select(0, pass.index);
    if (pooled.defined())
      time = pass.expand(time) + added_embedding(pooled.index_select(0, pass.index), time_ids(pass.size));
    pass.time = at::silu(time).to(dtype);

    auto h = pass.see("conv_in", conv_in(x.to(dtype)));
    std::vector<at::Tensor> skips{h};
    for (const auto& block : down) {
      for (size_t i = 0; i < block.resnets.size(); ++i) skips.push_back(h = block.layer(i, {h}, pass));
      if (block.has_resample) skips.push_back(h = block.resample(h));
      h = pass.see(block.path, h);
    }
    h = mid.layer(0, {h}, pass);
    if (mid.resnets.size() > 1) h = mid.layer(1, {h}, pass);
    h = pass.see(mid.path, h);
    for (const auto& block : up) {
      for (size_t i = 0; i < block.resnets.size(); ++i) {
        auto skip = skips.back();
        skips.pop_back();
        pass.align(h, skip);
        h = block.layer(i, {h, skip}, pass);
      }
      if (block.has_resample) {
        // To the size of the next skip: twice, or one less where the way down rounded up.
        const int64_t size[] = {skips.back().size(2), skips.back().size(3)};
        h = block.resample(at::upsample_nearest2d(h, size));
      }
      h = pass.see(block.path, h);
    }
    return pass.expand(conv_out.out(norm_out.silu(h)));
  }
};

UNet::UNet(const UNetConfig& config, WeightStore& weights, const at::Device& device, at::ScalarType dtype,
           const Context& context, const DenoiserOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->device = device;
  impl_->dtype = dtype;
  impl_->options = options.engine;
  if (options.trainable) impl_->options.cached_keys = true;  // they are prepared in each step, inside the graph
  impl_->checkpointing = options.checkpointing;
  if (options.trainable) impl_->lora = options.lora;
  if (impl_->lora && (impl_->lora->rank < 1 || !std::isfinite(impl_->lora->alpha) || impl_->lora->alpha <= 0)) {
    throw Error(code::kInvalidArgument, "LoRA needs a rank of at least 1 and an alpha above 0.");
  }
  std::optional<c10::InferenceMode> differentiable;  // tensors made in inference mode never take part in a graph
  if (options.trainable) differentiable.emplace(false);
  set_up_backends(device);
  probe_cudnn_attention(device, dtype);
  impl_->load(weights, context, options.trainable);
}
UNet::~UNet() = default;
UNet::UNet(UNet&&) noexcept = default;

const UNetConfig& UNet::config() const { return impl_->config; }
at::Device UNet::device() const { return impl_->device; }
at::ScalarType UNet::dtype() const { return impl_->dtype; }
int64_t UNet::channels() const { return impl_->config.in_channels; }
int64_t UNet::pixel_fold() const { return impl_->config.pixel_fold; }
int64_t UNet::feature_blocks() const { return static_cast<int64_t>(impl_->up.size()); }
std::string UNet::feature_path(int64_t block) const { return "up_blocks." + number(block); }
int64_t UNet::weight_bytes() const { return impl_->bytes; }
int64_t UNet::weight_count() const { return impl_->count; }
const Parameters& UNet::parameters() const { return impl_->parameters; }
const std::optional<LoraOptions>& UNet::lora() const { return impl_->lora; }

int64_t UNet::size_multiple() const {
  for (const auto& type : impl_->config.up_block_types) {
    if (type == "AttnUpBlock2D") return int64_t{1} << (impl_->config.block_out_channels.size() - 1);
  }
  return 1;
}

std::shared_ptr<const Conditions> UNet::prepare(const ConditionInput& input) const {
  auto made = std::make_shared<UNetConditions>();
  made->owner = impl_.get();
  made->rows = input.rows();
  if (impl_->class_embedding.defined()) {
    const auto& labels = input.labels;
    if (!labels.defined() || labels.dim() != 1 || labels.scalar_type() != at::kLong)
      throw Error(code::kInvalidArgument, "A class-conditional model takes class labels [M] int64.");
    if (labels.numel() &&
        (labels.min().item<int64_t>() < 0 || labels.max().item<int64_t>() >= impl_->config.num_class_embeds)) {
      throw Error(code::kInvalidArgument,
                  "A class label is outside 0 ... " + number(impl_->config.num_class_embeds - 1) + ".");
    }
    made->embeddings = at::embedding(impl_->class_embedding, labels.to(impl_->device));
  }
  if (const int64_t width = impl_->config.pooled_dim) {
    const auto fits = [&](const at::Tensor& part, int64_t columns) {
      return part.dim() == 2 && part.size(0) == made->rows && part.size(1) == columns;
    };
    if (!input.pooled.defined() || !fits(input.pooled, width)) {
      throw Error(code::kInvalidArgument, "The model takes pooled embeddings [M, " + number(width) + "] beside text.",
                  "Does the second text encoder belong to this UNet?");
    }
    if (input.time_ids.defined() && !fits(input.time_ids, kTimeIds))
      throw Error(code::kInvalidArgument, "The model takes time ids [M, " + number(kTimeIds) + "].");
    made->pooled = input.pooled.to(impl_->device, at::kFloat);
    if (input.time_ids.defined()) {
      made->embeddings =
          impl_->added_embedding(std::exchange(made->pooled, {}), input.time_ids.to(impl_->device, at::kFloat));
    }
  }
  if (impl_->cross_count) {
    if (!input.text.defined() || input.text.dim() != 3 || input.text.size(2) != impl_->config.cross_attention_dim) {
      throw Error(
          code::kInvalidArgument,
          "A text-conditional model takes embeddings [M, tokens, " + number(impl_->config.cross_attention_dim) + "].",
          "Does the text encoder belong to this UNet?");
    }
    const auto text = input.text.to(impl_->device, impl_->dtype);
    if (!impl_->options.cached_keys) {
      made->text = text;
      return made;
    }
    made->keys_values.resize(impl_->cross_count);
    const auto prepare_block = [&](const Block& block) {
      for (const auto& transformer : block.transformers) transformer.prepare(text, made->keys_values);
    };
    for (const auto& block : impl_->down) prepare_block(block);
    prepare_block(impl_->mid);
    for (const auto& block : impl_->up) prepare_block(block);
  }
  return made;
}

at::Tensor UNet::forward(const at::Tensor& x, const at::Tensor& t, const Conditions& conditions,
                         const at::Tensor& condition_index, int64_t fan_out, const Observer* observer,
                         PixelSize size) const {
  const auto& c = impl_->config;
  if (conditions.owner != impl_.get())
    throw Error(code::kInvalidArgument, "These conditions were prepared for another model.");
  if (x.dim() != 4 || x.size(1) != c.in_channels)
    throw Error(code::kInvalidArgument, "The UNet takes x [P, " + number(c.in_channels) + ", H, W].");
  if (t.dim() != 1 || t.size(0) != x.size(0))
    throw Error(code::kInvalidArgument, "The UNet takes one timestep for each input.");
  if (condition_index.numel() != x.size(0) * fan_out)
    throw Error(code::kInvalidArgument, "The UNet takes fan_out condition indices for each input.");
  // On a GPU the index is trusted: looking at it would make every pass wait for the one before.
  if (condition_index.is_cpu() && condition_index.numel() &&
      (condition_index.min().item<int64_t>() < 0 || condition_index.max().item<int64_t>() >= conditions.rows)) {
    throw Error(code::kInvalidArgument, "A condition index is outside 0 ... " + number(conditions.rows - 1) + ".");
  }
  const int64_t multiple = size_multiple();
  if (x.size(2) % multiple || x.size(3) % multiple) {
    throw Error(code::kInvalidArgument, "This model takes sizes that are multiples of " + number(multiple) + ", not " +
                                            number(x.size(2)) + " x " + number(x.size(3)) + ".");
  }
  const bool checkpointing = impl_->checkpointing && !observer && at::GradMode::is_enabled();
  const bool shared = fan_out == 1 || impl_->options.shared_prefix;
  const auto each = [&](const at::Tensor& one) {
    return shared ? one.to(impl_->device) : one.to(impl_->device).repeat_interleave(fan_out, 0);
  };
  const auto inputs = each(x), times = each(t);
  Pass pass{static_cast<const UNetConditions&>(conditions),
            condition_index.to(impl_->device),
            inputs.size(0),
            shared ? fan_out : 1,
            {},
            observer,
            checkpointing,
            size};
  try {
    return impl_->forward(inputs, times, pass);
  } catch (const PassStopped&) {
    return {};
  }
}

}  // namespace diffmine
