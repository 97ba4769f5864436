#include "typicality/patches.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/philox.h"
#include "kernels/ops.h"

namespace diffmine {
namespace {

void check_selection(const at::Tensor& scores, int64_t patch, int64_t count) {
  if (scores.dim() != 2) throw Error(code::kInvalidArgument, "Selecting patches needs a score map [R, S].");
  if (patch < 1 || count < 0)
    throw Error(code::kInvalidArgument, "The patch size must be positive and the number of patches not negative.");
}

}  // namespace

at::Tensor patch_operator(int64_t cells, int64_t pixels, int64_t patch) {
  if (cells < 1 || pixels < 1 || patch < 1)
    throw Error(code::kInvalidArgument, "Sizes of maps, images and patches must be positive.");
  if (patch > pixels) {
    throw Error(code::kInvalidArgument,
                "The patch (" + std::to_string(patch) + " px) is larger than the image's side (" +
                    std::to_string(pixels) + " px).",
                "Choose a smaller patch, or larger images.");
  }
  const int64_t places = pixels - patch + 1;
  auto a = at::zeros({places, cells}, at::kDouble);
  double* out = a.data_ptr<double>();
  // Pixel p of the upsampled line is (1 - f) line[c] + f line[c + 1] (at::upsample_bilinear2d); it lies in windows p -
  // patch + 1 ... p.
  for (int64_t p = 0; p < pixels; ++p) {
    const double at = std::max(0.0, (p + 0.5) * static_cast<double>(cells) / static_cast<double>(pixels) - 0.5);
    const int64_t c = std::min(static_cast<int64_t>(at), cells - 1), next = std::min(c + 1, cells - 1);
    const double f = at - static_cast<double>(c);
    for (int64_t r = std::max<int64_t>(0, p - patch + 1); r <= std::min(p, places - 1); ++r) {
      out[r * cells + c] += (1 - f) / static_cast<double>(patch);
      out[r * cells + next] += f / static_cast<double>(patch);
    }
  }
  return a.to(at::kFloat);
}

at::Tensor patch_scores(const at::Tensor& maps, const at::Tensor& a_h, const at::Tensor& a_w) {
  if (maps.dim() < 2 || maps.size(-2) != a_h.size(1) || maps.size(-1) != a_w.size(1)) {
    throw Error(code::kInvalidArgument, "The maps do not have the size that the patch operators were built for.");
  }
  // Columns first: all rows of all maps are one matrix [maps h, w] with one product. at::matmul would fold the other
  // order by transposing copies.
  const int64_t h = maps.size(-2), w = maps.size(-1), count = maps.numel() / (h * w);
  const auto across = at::mm(maps.reshape({count * h, w}), a_w.t()).view({count, h, a_w.size(0)});  // [maps, h, S]
  const auto scores = at::bmm(a_h.unsqueeze(0).expand({count, -1, -1}), across);
  std::vector<int64_t> shape(maps.sizes().begin(), maps.sizes().end() - 2);
  shape.insert(shape.end(), {a_h.size(0), a_w.size(0)});
  return scores.view(shape);
}

std::vector<Pick> select_patches(const at::Tensor& scores, int64_t patch, int64_t count, bool ascending) {
  check_selection(scores, patch, count);
  count = std::min(count, max_patches(scores.size(0), scores.size(1), patch));
  const auto places = ops::select_patches(scores, patch, count, ascending).cpu();
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) {
    if (const int64_t place = places.data_ptr<int64_t>()[i]; place >= 0) chosen.push_back(place);
  }
  return picks_at(scores, chosen);
}

std::vector<Pick> select_random(const at::Tensor& scores, int64_t patch, int64_t count, uint64_t seed, uint64_t key) {
  check_selection(scores, patch, count);
  return picks_at(scores, random_places(scores.size(0), scores.size(1), patch, count, seed, key));
}

std::vector<int64_t> random_places(int64_t rows, int64_t columns, int64_t patch, int64_t count, uint64_t seed,
                                   uint64_t key) {
  std::vector<char> taken(rows * columns, 0);
  std::vector<int64_t> places;
  for (int64_t pick = 0; pick < count; ++pick) {
    const int64_t room = std::count(taken.begin(), taken.end(), 0);
    if (room == 0) break;
    // The key is wider than a counter word: its low half is the sample, its high half the block's upper word.
    const Uint4 r = philox_block(seed, static_cast<uint32_t>(key), Stream::kPatches,
                                 (key >> 32 << 32) | static_cast<uint64_t>(pick));
    const uint64_t draw = (static_cast<uint64_t>(r.x) << 32) | r.y;
    int64_t left = static_cast<int64_t>((static_cast<unsigned __int128>(draw) * static_cast<uint64_t>(room)) >> 64);
    int64_t place = 0;
    for (;; ++place) {
      if (!taken[place] && left-- == 0) break;
    }
    places.push_back(place);
    const int64_t row = place / columns, column = place % columns;
    for (int64_t r0 = std::max<int64_t>(0, row - patch); r0 < std::min(rows, row + patch + 1); ++r0) {
      std::fill(taken.begin() + r0 * columns + std::max<int64_t>(0, column - patch),
                taken.begin() + r0 * columns + std::min(columns, column + patch + 1), 1);
    }
  }
  return places;
}

std::vector<float> values_at(const at::Tensor& map, const std::vector<int64_t>& places) {
  const auto index =
      at::from_blob(const_cast<int64_t*>(places.data()), {static_cast<int64_t>(places.size())}, at::kLong);
  const auto values = map.reshape({-1}).index_select(0, index.to(map.device())).to(at::kCPU, at::kFloat).contiguous();
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

std::vector<Pick> picks_at(const at::Tensor& scores, const std::vector<int64_t>& places) {
  const auto values = values_at(scores, places);
  std::vector<Pick> picks;
  for (size_t i = 0; i < places.size(); ++i)
    picks.push_back({places[i] / scores.size(1), places[i] % scores.size(1), values[i]});
  return picks;
}

}  // namespace diffmine
