// What the parts of a UNet share during one forward pass.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "models/denoiser.h"

namespace diffmine {

struct UNetConditions final : Conditions {
  std::vector<std::pair<at::Tensor, at::Tensor>> keys_values;  // per cross-attention [M, heads, tokens, d], or
  at::Tensor text;                                             // [M, tokens, D], of which they are made in every pass
  at::Tensor
      embeddings;     // [M, time_channels] fp32, added to the timestep's: of a class, or of pooled text with time ids
  at::Tensor pooled;  // [M, P] fp32, embedded in every pass with the time ids of its image size
  int64_t bytes() const override;
};

// What travels through one forward pass. Activations have `inputs` rows until a condition enters, then `rows`.
struct Pass {
  const UNetConditions& conditions;
  at::Tensor index;  // [rows] rows of the conditions, on the device
  int64_t inputs, fan_out;
  at::Tensor time;  // SiLU(time embedding) [inputs or rows, T], every resnet starts from it
  const Observer* observer;
  bool checkpointing = false;
  PixelSize size{};

  // [inputs, ...] -> [inputs * fan_out, ...], each row repeated; channels_last stays.
  at::Tensor expand(const at::Tensor& x) const {
    if (fan_out == 1 || x.size(0) != inputs) return x;
    if (x.dim() != 4) return x.repeat_interleave(fan_out, 0);
    const auto nhwc = x.permute({0, 2, 3, 1}).unsqueeze(1);
    // Copied before it is flattened: of one input, flatten alone makes a view whose rows share their memory, and what
    // follows writes in place.
    return nhwc.expand({-1, fan_out, -1, -1, -1}).contiguous().flatten(0, 1).permute({0, 3, 1, 2});
  }
  // Brings two tensors to the same number of rows.
  void align(at::Tensor& a, at::Tensor& b) const {
    if (a.size(0) == b.size(0)) return;
    a = expand(a);
    b = expand(b);
  }
  at::Tensor see(const std::string& path, at::Tensor x) const { return observe(observer, path, std::move(x)); }
};

}  // namespace diffmine
