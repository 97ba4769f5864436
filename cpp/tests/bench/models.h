// Models that are benchmarked with random weights, and what they compute: as src/tools/bench/synthetic.ts and
// src/models/operations.ts have them, which test/unit/diffmine-bench.test.ts compares.
#pragma once
#include <cstdint>
#include <string>

#include "core/error.h"
#include "models/unet.h"

namespace diffmine::bench {

inline UNetConfig model_config(const std::string& name) {
  UNetConfig c;
  if (name == "tiny") {
    c.block_out_channels = {16, 24, 24, 32};
    c.norm_num_groups = 8;
    c.cross_attention_dim = 32;
  } else if (name != "sd15") {
    throw Error(code::kInvalidArgument, "There is no model '" + name + "'.", "Models are sd15 and tiny.");
  }
  c.down_block_types = {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"};
  c.up_block_types = {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"};
  c.attention_head_dim = {8, 8, 8, 8};
  c.transformer_layers = {1, 1, 1, 1};
  return c;
}

constexpr int64_t kTokens = 77;  // of a prompt

// 2 x multiply-accumulates of one UNet call on side x side latents: convolutions, linear layers and attention of the
// configurations above.
inline double flops_per_call(const UNetConfig& config, int64_t side) {
  const auto& channels = config.block_out_channels;
  const int64_t levels = static_cast<int64_t>(channels.size()), time = 4 * channels[0];
  double sum = 0;
  const auto linear = [&](int64_t from, int64_t to, int64_t rows) {
    sum += 2.0 * static_cast<double>(from) * static_cast<double>(to) * static_cast<double>(rows);
  };
  const auto cells = [&](int64_t level) {
    const int64_t scale = int64_t{1} << level, rounded = (side + scale - 1) / scale;
    return rounded * rounded;
  };
  const auto layer = [&](bool attends, int64_t from, int64_t to, int64_t level) {
    const int64_t rows = cells(level);
    linear(9 * from, to, rows), linear(9 * to, to, rows), linear(time, to, 1);
    if (from != to) linear(from, to, rows);
    if (!attends) return;
    linear(8 * to, to, rows);                                   // in, out; Q, K, V, O; Q, O to the text
    linear(2 * config.cross_attention_dim, to, kTokens);        // K, V of the text
    linear(2 * rows, to, rows), linear(2 * kTokens, to, rows);  // scores and weighted sums
    linear(to, 8 * to, rows), linear(4 * to, to, rows);         // GEGLU and the layer after it
  };
  linear(9 * config.in_channels, channels[0], cells(0)), linear(channels[0], time, 1), linear(time, time, 1);
  std::vector<int64_t> skips{channels[0]};
  int64_t now = channels[0];
  for (int64_t level = 0; level < levels; ++level) {
    for (int64_t i = 0; i < config.layers_per_block; ++i, skips.push_back(now))
      layer(level + 1 < levels, now, channels[level], level), now = channels[level];
    if (level + 1 < levels) linear(9 * now, now, cells(level + 1)), skips.push_back(now);
  }
  layer(true, now, now, levels - 1), layer(false, now, now, levels - 1);
  for (int64_t level = levels - 1; level >= 0; --level) {
    for (int64_t i = 0; i <= config.layers_per_block; ++i, now = channels[level]) {
      layer(level + 1 < levels, now + skips.back(), channels[level], level);
      skips.pop_back();
    }
    if (level > 0) linear(9 * now, now, cells(level - 1));
  }
  linear(9 * now, config.out_channels, cells(0));
  return sum;
}

}  // namespace diffmine::bench
