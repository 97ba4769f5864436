#include "features/dift.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/stage.h"
#include "diffusion/noise.h"
#include "kernels/ops.h"

namespace diffmine {
namespace {

// Cells [begin, end) of `cells` that pixels [first, last) of `pixels` cover, as Python's int(x * cells / pixels); never
// none.
std::pair<int64_t, int64_t> cells_of(double first, double last, int64_t cells, int64_t pixels) {
  const auto cell = [&](double pixel) {
    return static_cast<int64_t>(std::clamp(pixel * cells / pixels, 0.0, static_cast<double>(cells)));
  };
  const int64_t begin = cell(first), end = cell(last);
  if (begin < end) return {begin, end};
  const int64_t nearest = std::min(cell((first + last) / 2), cells - 1);
  return {nearest, nearest + 1};
}

}  // namespace

at::Tensor dift_features(const Model& model, const Conditions& conditions, const at::Tensor& latents,
                         const at::Tensor& condition_index, const DiftOptions& options,
                         const std::optional<at::Tensor>& noises, const Context& context) {
  const Stage stage("features");
  const Denoiser& denoiser = *model.denoiser;
  const auto device = denoiser.device();
  if (latents.dim() != 4 || latents.size(0) == 0) {
    throw Error(code::kInvalidArgument, "Features need latents [B, C, h, w] with B > 0.");
  }
  const int64_t images = latents.size(0), steps = model.schedule->config().train_timesteps;
  const auto chw = latents.sizes().slice(1);
  if (condition_index.numel() != images)
    throw Error(code::kInvalidArgument, "Features need one condition for each image.");
  if (condition_index.min().item<int64_t>() < 0 || condition_index.max().item<int64_t>() >= conditions.rows) {
    throw Error(code::kInvalidArgument,
                "A condition must be one of the " + std::to_string(conditions.rows) + " prepared ones.");
  }
  if (options.timestep < 0 || options.timestep >= steps) {
    throw Error(code::kInvalidArgument, "The features' timestep must lie in 0 ... " + std::to_string(steps - 1) + ".");
  }
  const int64_t blocks = denoiser.feature_blocks();
  if (options.block < 0 || options.block >= blocks) {
    throw Error(code::kInvalidArgument, "The model has blocks 0 ... " + std::to_string(blocks - 1) + ", not " +
                                            std::to_string(options.block) + ".");
  }

  // [B * E or E, C, h, w], and whether each image has its own.
  at::Tensor noise;
  bool own_noise = false;
  int64_t ensemble = options.ensemble;
  if (noises) {
    own_noise = noises->dim() == 5;
    if ((!own_noise && noises->dim() != 4) || noises->sizes().slice(noises->dim() - 3) != chw ||
        (own_noise && noises->size(0) != images)) {
      throw Error(code::kInvalidArgument,
                  "Noises for features must be [E, C, h, w] or [B, E, C, h, w], with the shape of the latents.");
    }
    ensemble = noises->size(own_noise ? 1 : 0);
    noise = noises->reshape({-1, chw[0], chw[1], chw[2]}).to(device, at::kFloat);
  }
  if (ensemble < 1 || options.batch < 1)
    throw Error(code::kInvalidArgument, "The ensemble and the batch of features must be positive.");
  if (!noises) noise = draw_noise(options.seed, 0, ensemble, chw, Stream::kDift, device);

  const int64_t rows = images * ensemble;  // row b * E + e
  const auto row = at::arange(rows, at::TensorOptions(at::kLong).device(device));
  const auto image = row.div(ensemble, "floor"), sample = own_noise ? row : row.remainder(ensemble);
  const auto condition = condition_index.to(device, at::kLong).reshape({-1}).index_select(0, image);
  const auto x0 = latents.to(device, at::kFloat);
  const auto level = model.schedule->levels(at::full({1}, options.timestep, at::kLong));
  const auto a = level.signal.expand({rows}).contiguous().to(device),
             s = level.noise.expand({rows}).contiguous().to(device);
  const auto t = at::full({rows}, options.timestep, model.schedule->flow() ? x0.options() : row.options());

  const std::string wanted = denoiser.feature_path(options.block);
  const PixelSize size = options.size == PixelSize{} ? model.pixels(x0) : options.size;
  at::Tensor feature, sum;
  const Observer observer = [&](std::string_view path, const at::Tensor& output) {
    Observation answer;
    if (path == wanted) {
      feature = output.to(at::kFloat);
      answer.stop = true;
    }
    return answer;
  };
  for (int64_t begin = 0; begin < rows; begin += options.batch) {
    context.check_cancelled();
    const int64_t end = std::min(begin + options.batch, rows);
    const auto of = [&](const at::Tensor& all) { return all.slice(0, begin, end); };
    const auto x = ops::add_noise(x0.index_select(0, of(image)), noise.index_select(0, of(sample)), of(a), of(s),
                                  denoiser.dtype());
    denoiser.forward(x, of(t), conditions, of(condition), 1, &observer, size);
    if (!feature.defined()) throw Error(code::kInternal, "The model did not output its " + wanted + ".");
    if (!sum.defined()) sum = at::zeros({images, feature.size(1), feature.size(2), feature.size(3)}, feature.options());
    for (int64_t b = begin / ensemble; b * ensemble < end; ++b) {
      const int64_t first = std::max(b * ensemble, begin) - begin, last = std::min((b + 1) * ensemble, end) - begin;
      sum[b].add_(feature.slice(0, first, last).sum(0));
    }
    feature.reset();
    context.report("features", end, rows);
  }
  return sum.div_(ensemble);
}

at::Tensor pool_boxes(const at::Tensor& feature, const std::vector<PixelBox>& boxes, int64_t height, int64_t width) {
  if (feature.dim() != 3 || height < 1 || width < 1) {
    throw Error(code::kInvalidArgument, "Pooling boxes needs the features [F, h, w] of one image.");
  }
  if (boxes.empty()) return at::empty({0, feature.size(0)}, feature.options());
  std::vector<at::Tensor> pooled;
  for (const PixelBox& box : boxes) {
    if (!std::isfinite(box.row_begin + box.row_end + box.column_begin + box.column_end)) {
      throw Error(code::kInvalidArgument, "A box has NaN coordinates.");
    }
    const auto [top, bottom] = cells_of(box.row_begin, box.row_end, feature.size(1), height);
    const auto [left, right] = cells_of(box.column_begin, box.column_end, feature.size(2), width);
    pooled.push_back(feature.slice(1, top, bottom).slice(2, left, right).mean({1, 2}));
  }
  const auto means = at::stack(pooled);
  return means / means.norm(2, {1}, /*keepdim=*/true).clamp_min_(1e-12);
}

}  // namespace diffmine
