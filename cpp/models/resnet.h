// The residual block of UNet and VAE: GroupNorm, SiLU, 3x3 convolution, twice, with the time embedding between.
#pragma once
#include <string>

#include "models/layers.h"

namespace diffmine {

struct ResnetBlock {
  std::string path;
  GroupNorm norm1, norm2;
  Conv2d conv1, conv2;
  Linear time_proj;  // absent in the VAE
  Linear shortcut;   // 1x1, where in != out
  bool has_shortcut = false, scale_shift = false;

  // time_channels 0: without time embedding.
  static ResnetBlock load(Loader& loader, const std::string& name, int64_t in, int64_t out, int64_t time_channels, int64_t groups, double eps, bool scale_shift = false);
};

}  // namespace diffmine
