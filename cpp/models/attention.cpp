#include "models/attention.h"

#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <tuple>

#include "core/backends.h"
#include "kernels/attention_cpu.h"

namespace diffmine {

namespace {

// Keys from which attention in blocks pays on a CPU: what it packs is little beside what it multiplies.
constexpr int64_t kManyKeys = 64;

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const EngineOptions& options,
                     bool causal) {
  if (q.is_cpu() && !causal && k.size(2) >= kManyKeys && q.size(3) % 2 == 0 && !q.requires_grad() &&
      options.block_attention && has_attention_cpu(q.scalar_type())) {
    return attention_cpu(q, k, v);
  }
  // FlashAttention by name, instead of the backend LibTorch prefers: its preferences are process-wide.
  if (!options.cudnn_attention && q.scalar_type() != at::kFloat && q.size(3) % 8 == 0 && q.size(3) <= 256 &&
      has_flash_attention(q.device())) {
    return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, 0.0, causal));
  }
  return at::scaled_dot_product_attention(q, k, v, {}, 0.0, causal);
}

at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2);
}

at::Tensor merge_heads(const at::Tensor& x) { return x.transpose(1, 2).flatten(2); }

SpatialAttention SpatialAttention::load(Loader& loader, const std::string& name, int64_t channels, int64_t heads,
                                        int64_t groups, double eps) {
  SpatialAttention block;
  block.path_ = name;
  block.heads_ = heads;
  block.options_ = loader.options();
  block.norm_ = GroupNorm::load(loader, name + ".group_norm", channels, groups, eps);
  block.qkv_ = Linear::packed(loader, {name + ".to_q", name + ".to_k", name + ".to_v"}, channels, channels, true);
  block.out_ = Linear::load(loader, name + ".to_out.0", channels, channels);
  return block;
}

at::Tensor SpatialAttention::operator()(const at::Tensor& x, const Observer* observer) const {
  auto qkv = qkv_(to_tokens(norm_(x))).chunk(3, -1);
  if (observer) {
    qkv[0] = observe(observer, path_ + ".to_q", qkv[0]);
    qkv[1] = observe(observer, path_ + ".to_k", qkv[1]);
  }
  const auto mixed =
      attention(split_heads(qkv[0], heads_), split_heads(qkv[1], heads_), split_heads(qkv[2], heads_), options_);
  return to_image(out_.add(merge_heads(mixed), to_tokens(x)), x.size(2), x.size(3));
}

}  // namespace diffmine
