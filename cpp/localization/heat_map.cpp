#include "localization/heat_map.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/reflection_pad2d.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include "core/error.h"

namespace diffmine {
namespace {

at::Tensor blur(const at::Tensor& maps, int64_t kernel, double sigma) {  // [n, 1, H, W]
  const int64_t reach = kernel / 2;
  const auto options = at::TensorOptions().device(maps.device());
  const auto distance = at::arange(-reach, reach + 1, options.dtype(at::kDouble));
  const auto bell = at::exp(distance.square() * (-0.5 / (sigma * sigma)));
  const auto taps = (bell / bell.sum()).to(at::kFloat);
  const auto rows = at::conv2d(at::reflection_pad2d(maps, {0, 0, reach, reach}), taps.view({1, 1, kernel, 1}));
  return at::conv2d(at::reflection_pad2d(rows, {reach, reach, 0, 0}), taps.view({1, 1, 1, kernel}));
}

}  // namespace

at::Tensor heat_maps(const at::Tensor& maps, const HeatMapOptions& options) {
  const auto refuse = [](const std::string& what, const std::string& hint = {}) {
    throw Error(code::kInvalidArgument, what, hint);
  };
  if (maps.dim() != 3 || maps.size(1) < 1 || maps.size(2) < 1) refuse("Heat maps need maps [n, h, w].");
  if (options.height < 1 || options.width < 1) refuse("The heat map's size in pixels is missing.");
  auto pixels = maps.to(at::kFloat).unsqueeze(1);
  const int64_t size[] = {options.height, options.width};
  if (pixels.sizes().slice(2) != at::IntArrayRef(size))
    pixels = at::upsample_bilinear2d(pixels, size, /*align_corners=*/false);
  if (options.kernel == 0) return pixels.squeeze(1).contiguous();
  if (options.kernel < 0 || options.kernel % 2 == 0)
    refuse("A Gaussian has an odd number of taps, not " + std::to_string(options.kernel) + ".");
  if (!(options.sigma > 0)) refuse("A Gaussian's sigma is positive.");
  if (options.kernel / 2 >= std::min(options.height, options.width)) {
    refuse("A Gaussian of " + std::to_string(options.kernel) + " taps reaches over a map of " +
               std::to_string(options.height) + " x " + std::to_string(options.width) + " px.",
           "Reflection needs at least half its taps and one pixel more.");
  }
  return blur(pixels, options.kernel, options.sigma).squeeze(1).contiguous();
}

}  // namespace diffmine
