// The residual block of UNet and VAE: GroupNorm, SiLU, 3x3 convolution, twice, with the time embedding between.
#pragma once
#include <string>

#include "models/layers.h"

namespace diffmine {

struct ResnetOptions {
  int64_t time_channels = 0;  // 0: without time embedding
  int64_t groups = 32;
  double eps = 1e-5;
  bool scale_shift = false;
  int64_t first = 0;  // of `in` channels that come as two tensors, those of the first; 0: one tensor
};

struct ResnetBlock {
  std::string path;
  GroupNorm norm1, norm2;
  Conv2d conv1, conv2;
  Linear time_proj;            // absent in the VAE
  Linear shortcut, shortcut2;  // 1x1, where in != out; the second of the second input
  bool has_shortcut = false, scale_shift = false;
  bool takes_two = false;  // reads two inputs without joining them

  static ResnetBlock load(Loader& loader, const std::string& name, int64_t in, int64_t out,
                          const ResnetOptions& options);

  // SiLU(norm1(x)), through conv1; what its bias adds is in time_proj or in norm2. x has one or two tensors.
  at::Tensor first_half(const std::vector<at::Tensor>& x) const;
  // What is added at the end: x, or its shortcut.
  at::Tensor residual(const std::vector<at::Tensor>& x) const;
};

}  // namespace diffmine
