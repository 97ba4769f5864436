// Heat maps (paper section 5.2): typicality at latent resolution, brought to pixels and smoothed.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace diffmine {

struct HeatMapOptions {
  int64_t height = 0, width = 0;  // pixels
  int64_t kernel = 0;             // taps of the Gaussian, odd; 0: no blur. The paper's: 127 at 512 px
  double sigma = 0;               // pixels; the paper's: 32 at 512 px
};

// maps [n, h, w] fp32 -> [n, height, width]: upsampled bilinearly (align_corners = false), then blurred by a Gaussian
// that is cut at `kernel` taps and then normalized; at the border the map is reflected without repeating its edge.
// Throws INVALID_ARGUMENT for an even kernel, one that reaches over the whole map, or a sigma that is not positive.
at::Tensor heat_maps(const at::Tensor& maps, const HeatMapOptions& options);

}  // namespace diffmine
