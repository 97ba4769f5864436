// Observers of a forward pass: they see the outputs of named modules, and may replace them or end the pass.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace diffmine {

// What an observer decides.
struct Observation {
  std::optional<at::Tensor> replacement;  // takes the output's place
  bool stop = false;                      // ends the pass: forward returns an undefined tensor
};

// Called with a module path ("conv_in", "time_proj", "time_embedding", "down_blocks.0.resnets.1",
// "down_blocks.0.attentions.0", "down_blocks.0", "mid_block", "up_blocks.1", "up_blocks.1.resnets.1.conv2",
// "up_blocks.1.attentions.1.transformer_blocks.0.attn1.to_q", "up_blocks.1.attentions.1.to_q" of AttnUpBlock2D, ...)
// and its output (logical NCHW, or [B, tokens, C] inside attention).
using Observer = std::function<Observation(std::string_view path, const at::Tensor& output)>;

// Thrown where an observer ends the pass; caught in forward.
struct PassStopped {};

// The output that the forward pass continues with.
inline at::Tensor observe(const Observer* observer, const std::string& path, at::Tensor output) {
  if (!observer) return output;
  auto seen = (*observer)(path, output);
  if (seen.stop) throw PassStopped{};
  return seen.replacement ? *std::move(seen.replacement) : output;
}

}  // namespace diffmine
