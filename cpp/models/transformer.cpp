#include "models/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_select.h>

#include "core/error.h"
#include "kernels/ops.h"
#include "models/attention.h"
#include "models/unet.h"

namespace diffmine {

Transformer Transformer::load(Loader& loader, const std::string& name, const UNetConfig& config, int64_t channels,
                              int64_t heads, int64_t layers, size_t& cross_count) {
  if (heads <= 0 || channels % heads != 0) {
    throw Error(code::kModelUnsupported, "\"" + name + "\": " + std::to_string(channels) +
                                             " channels cannot be split into " + std::to_string(heads) +
                                             " attention heads.");
  }
  Transformer t;
  t.path = name;
  t.heads = heads;
  t.options = loader.options();
  t.fused = !loader.differentiable() && t.options.geglu;
  t.norm = GroupNorm::load(loader, name + ".norm", channels, config.norm_num_groups, 1e-6);
  const auto projection = [&](const std::string& p) {
    return config.use_linear_projection ? Linear::load(loader, p, channels, channels)
                                        : Linear::load_conv1x1(loader, p, channels, channels);
  };
  t.proj_in = projection(name + ".proj_in");
  for (int64_t i = 0; i < layers; ++i) {
    const std::string p = name + ".transformer_blocks." + std::to_string(i);
    Block b;
    b.path = p;
    b.norm1 = LayerNorm::load(loader, p + ".norm1", channels, 1e-5);
    b.norm2 = LayerNorm::load(loader, p + ".norm2", channels, 1e-5);
    b.norm3 = LayerNorm::load(loader, p + ".norm3", channels, 1e-5);
    b.qkv =
        Linear::packed(loader, {p + ".attn1.to_q", p + ".attn1.to_k", p + ".attn1.to_v"}, channels, channels, false);
    b.out1 = Linear::load(loader, p + ".attn1.to_out.0", channels, channels);
    b.q2 = Linear::load(loader, p + ".attn2.to_q", channels, channels, false);
    b.k2 = Linear::load(loader, p + ".attn2.to_k", config.cross_attention_dim, channels, false);
    b.v2 = Linear::load(loader, p + ".attn2.to_v", config.cross_attention_dim, channels, false);
    b.out2 = Linear::load(loader, p + ".attn2.to_out.0", channels, channels);
    b.ff_in = Linear::load(loader, p + ".ff.net.0.proj", channels, 8 * channels);
    b.ff_out = Linear::load(loader, p + ".ff.net.2", 4 * channels, channels);
    b.cross_index = cross_count++;
    t.blocks.push_back(std::move(b));
  }
  t.proj_out = projection(name + ".proj_out");

  // Products accumulate into h; their biases are constants that the next norm adds as it reads, and proj_out last of
  // all.
  at::Tensor biases;
  const auto release = [&](Linear& linear) {
    const auto bias = linear.release_bias();
    if (bias.defined()) biases = biases.defined() ? biases + bias.to(at::kFloat) : bias.to(at::kFloat);
  };
  for (auto& b : t.blocks) {
    if (biases.defined()) b.norm1.add_input(biases);
    release(b.out1);
    if (biases.defined()) b.norm2.add_input(biases);
    release(b.out2);
    if (biases.defined()) b.norm3.add_input(biases);
    release(b.ff_out);
  }
  if (biases.defined()) t.proj_out.add_input(biases);
  return t;
}

void Transformer::prepare(const at::Tensor& text, std::vector<std::pair<at::Tensor, at::Tensor>>& keys_values) const {
  for (const auto& b : blocks) {
    keys_values[b.cross_index] = {split_heads(b.k2(text), heads).contiguous(),
                                  split_heads(b.v2(text), heads).contiguous()};
  }
}

// Of each row's condition.
std::pair<at::Tensor, at::Tensor> Transformer::keys_values(const Block& b, const Pass& pass) const {
  if (pass.conditions.text.defined()) {
    const auto text = pass.conditions.text.index_select(0, pass.index);
    return {split_heads(b.k2(text), heads), split_heads(b.v2(text), heads)};
  }
  const auto& [keys, values] = pass.conditions.keys_values[b.cross_index];
  return {keys.index_select(0, pass.index), values.index_select(0, pass.index)};
}

// GEGLU of (hidden | gate).
at::Tensor Transformer::gated(const at::Tensor& x) const {
  if (fused) return ops::geglu(x);
  const auto parts = x.chunk(2, -1);
  return parts[0] * at::gelu(parts[1]);
}

at::Tensor Transformer::run(const at::Tensor& x, const Pass& pass) const {
  auto h = proj_in(to_tokens(norm(x)));
  for (const auto& b : blocks) {
    auto qkv = b.qkv(b.norm1(h)).chunk(3, -1);
    if (pass.observer) {
      qkv[0] = pass.see(b.path + ".attn1.to_q", qkv[0]);
      qkv[1] = pass.see(b.path + ".attn1.to_k", qkv[1]);
    }
    h = b.out1.add_to(h, merge_heads(attention(split_heads(qkv[0], heads), split_heads(qkv[1], heads),
                                               split_heads(qkv[2], heads), options)));

    // Here the condition enters: queries are still one row an input, keys and values are per condition.
    const auto [keys, values] = keys_values(b, pass);
    const auto q = pass.expand(b.q2(b.norm2(h)));
    h = pass.expand(h);
    h = b.out2.add_to(h, merge_heads(attention(split_heads(q, heads), keys, values, options)));

    h = b.ff_out.add_to(h, gated(b.ff_in(b.norm3(h))));
  }
  return pass.see(path, to_image(proj_out.add(h, to_tokens(pass.expand(x))), x.size(2), x.size(3)));
}

}  // namespace diffmine
