#include "typicality/typicality.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "kernels/ops.h"
#include "typicality/moments.h"

namespace diffmine {
namespace {

// Score maps of one picture are made for this many bytes of samples at a time: enough to fill a device, little beside its activations.
constexpr int64_t kScoreBytes = int64_t{64} << 20;

struct Sizes {
  int64_t pictures, samples, conditions, outputs;  // B, N, K, M
  int64_t rows() const { return pictures * samples; }
};

[[noreturn]] void refuse(const std::string& what, const std::string& hint = {}) { throw Error(code::kInvalidArgument, what, hint); }

Sizes check(const Model& model, const Conditions& conditions, const TypicalityInput& input, const TypicalityOptions& options) {
  const auto& latents = input.latents;
  if (latents.dim() != 4 || latents.size(1) != model.unet->config().in_channels) {
    refuse("Typicality is computed on latents [B, " + std::to_string(model.unet->config().in_channels) + ", h, w].");
  }
  Sizes s{latents.size(0), options.samples, 0, 0};
  if (input.conditions.dim() != 2 || input.subjects.dim() != 2 || input.weights.dim() != 3) {
    refuse("Conditions are given as [B, K], subjects as [B, M] and weights as [B, M, K].");
  }
  s.conditions = input.conditions.size(1), s.outputs = input.subjects.size(1);
  if (input.conditions.size(0) != s.pictures || input.subjects.size(0) != s.pictures ||
      input.weights.sizes() != at::IntArrayRef({s.pictures, s.outputs, s.conditions}) ||
      static_cast<int64_t>(input.keys.size()) != s.pictures) {
    refuse("Conditions, subjects, weights and keys do not fit " + std::to_string(s.pictures) + " pictures.");
  }
  if (s.rows() > 0 && s.conditions * s.outputs == 0) refuse("Every picture needs a condition to be scored.");
  if (input.conditions.numel() > 0 &&
      (input.conditions.min().item<int64_t>() < 0 || input.conditions.max().item<int64_t>() >= condition_rows(conditions))) {
    refuse("A condition must be one of the " + std::to_string(condition_rows(conditions)) + " prepared ones.");
  }
  if (s.pictures > 0 && s.outputs > 0 &&
      (input.subjects.min().item<int64_t>() < 0 || input.subjects.max().item<int64_t>() >= s.conditions)) {
    refuse("A subject must be one of its picture's " + std::to_string(s.conditions) + " conditions.");
  }
  if (options.samples < 1 || options.batch < 1 || options.patch < 0 || options.per_image < 0) {
    refuse("Samples and batch must be positive, patch and patches an image not negative.");
  }
  if (input.height < 1 || input.width < 1) refuse("The picture's size in pixels is missing.");
  const auto chw = latents.sizes().slice(1);
  if (input.noises) {
    const auto& n = *input.noises;
    const bool fits = (n.dim() == 4 && n.size(0) == s.samples) || (n.dim() == 5 && n.size(0) == s.pictures && n.size(1) == s.samples);
    if (!fits || n.sizes().slice(n.dim() - 3) != chw) {
      refuse("The replayed noises must be [N, C, h, w] or [B, N, C, h, w] of " + std::to_string(s.samples) + " samples and the latents' shape.",
             "Noises belong to a picture's size: check --size and the replay file.");
    }
  }
  const int64_t steps = model.schedule->config().train_timesteps;
  if (input.timesteps) {
    const auto& t = *input.timesteps;
    if (!((t.dim() == 1 && t.size(0) == s.samples) || (t.dim() == 2 && t.size(0) == s.pictures && t.size(1) == s.samples))) {
      refuse("The replayed timesteps must be [N] or [B, N] of " + std::to_string(s.samples) + " samples.");
    }
    if (t.numel() > 0 && (t.min().item<int64_t>() < 0 || t.max().item<int64_t>() >= steps)) {
      refuse("Timesteps must lie in 0 ... " + std::to_string(steps - 1) + ".");
    }
  } else if (options.t_begin < 0 || options.t_end > steps || options.t_begin >= options.t_end) {
    refuse("Timesteps are drawn from [begin, end) within 0 ... " + std::to_string(steps) + ".");
  }
  return s;
}

// All that a row (picture b, sample n; row b * N + n) of the work is made of, on the device before the first pass: copying it pass by
// pass would make a GPU wait.
struct Plan {
  at::Tensor picture, sample;                     // [B N] which latent; which noise, among those drawn or replayed
  at::Tensor t, a, s, target_x, target_noise;     // [B N]
  at::Tensor conditions;                          // [B N K]
  at::Tensor subjects, weights;                   // [B, M], [B, M, K]
  at::Tensor latents;                             // [B, C, h, w]
};

Plan make_plan(const Model& model, const TypicalityInput& input, const at::Tensor& timesteps, const Sizes& sizes) {
  const auto device = model.unet->device();
  const auto row = at::arange(sizes.rows(), at::TensorOptions(at::kLong));
  const auto picture = row.div(sizes.samples, "floor"), sample = row.remainder(sizes.samples);
  const auto t = timesteps.index_select(0, timesteps.size(0) == sizes.rows() ? row : sample);
  const auto alpha_bar = model.schedule->alphas_cumprod().index_select(0, t);
  const auto a = at::sqrt(alpha_bar), s = at::sqrt(1 - alpha_bar);
  const bool velocity = model.schedule->config().prediction == Prediction::kVelocity;  // v = a eps - s x
  Plan plan;
  plan.picture = picture.to(device);
  plan.sample = (input.noises && input.noises->dim() == 5 ? row : sample).to(device);
  plan.t = t.to(device), plan.a = a.to(device), plan.s = s.to(device);
  plan.target_x = (velocity ? -s : at::zeros_like(s)).to(device);
  plan.target_noise = (velocity ? a : at::ones_like(a)).to(device);
  plan.conditions = input.conditions.to(at::kLong).index_select(0, picture).reshape({-1}).to(device);
  plan.subjects = input.subjects.to(device, at::kLong);
  plan.weights = input.weights.to(device, at::kFloat);
  plan.latents = input.latents.to(device, at::kFloat).contiguous();
  return plan;
}

// The noises of rows [begin, end): replayed ones, or those of the pass drawn by their keys.
at::Tensor noises_of(const TypicalityInput& input, const TypicalityOptions& options, const Plan& plan, int64_t begin, int64_t end) {
  const auto sample = plan.sample.slice(0, begin, end);
  if (input.noises) {
    const auto all = input.noises->reshape({-1, plan.latents.size(1), plan.latents.size(2), plan.latents.size(3)});
    return all.index_select(0, sample.to(all.device())).to(plan.latents.device(), at::kFloat);
  }
  const int64_t n = options.samples, first = begin % n;
  const auto draw = [&](int64_t from, int64_t count) {
    return draw_noise(options.seed, from, count, plan.latents.sizes().slice(1), Stream::kScan, plan.latents.device());
  };
  if (end - begin >= n) return draw(0, n).index_select(0, sample);
  if (first + end - begin <= n) return draw(first, end - begin);
  return at::cat({draw(first, n - first), draw(0, first + end - begin - n)});  // the pass ends in the next picture
}

// One picture's running means, from its first sample to its last.
struct Running {
  Moments map, scores;  // [M, h', w'], [M, R, S]

  // differences [n, M, h', w']
  void add(const at::Tensor& differences, const at::Tensor& a_h, const at::Tensor& a_w) {
    map.add(differences);
    if (!a_h.defined()) return;
    const int64_t bytes = differences.size(1) * a_h.size(0) * a_w.size(0) * int64_t{sizeof(float)};
    const int64_t at_once = std::max<int64_t>(1, kScoreBytes / bytes);
    for (int64_t n = 0; n < differences.size(0); n += at_once) {
      scores.add(patch_scores(differences.slice(0, n, std::min(n + at_once, differences.size(0))), a_h, a_w));
    }
  }
};

std::vector<ScoredPatch> scored(const at::Tensor& scores, const at::Tensor& errors, const std::vector<int64_t>& places) {
  const auto score = values_at(scores, places), error = values_at(errors, places);
  std::vector<ScoredPatch> patches;
  for (size_t i = 0; i < places.size(); ++i) patches.push_back({places[i] / scores.size(1), places[i] % scores.size(1), score[i], error[i]});
  return patches;
}

// picks [count] of one map, as ops::select_patches gives them.
std::vector<int64_t> places_of(const at::Tensor& picks) {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < picks.numel(); ++i) {
    if (const int64_t place = picks.const_data_ptr<int64_t>()[i]; place >= 0) places.push_back(place);
  }
  return places;
}

std::vector<TypicalityOutput> finish(const Running& running, const TypicalityOptions& options, int64_t picture, uint64_t key) {
  const auto maps = running.map.mean().cpu();
  const auto scores = running.scores.mean();
  if (!at::isfinite(maps).all().item<bool>() || (scores.defined() && !at::isfinite(scores).all().item<bool>())) {
    throw Error(code::kNumerics, "The typicality of picture " + std::to_string(picture) + " of the batch is not finite (NaN or infinity).",
                "In fp16 the model may overflow: use bf16 or fp32. In fp32 the model's weights or the picture are at fault.");
  }
  at::Tensor errors, top, least;
  std::vector<int64_t> random;
  if (scores.defined()) {
    errors = running.scores.standard_error();
    const int64_t count = std::min(options.per_image, most_patches(scores.size(1), scores.size(2), options.patch));
    top = ops::select_patches(scores, options.patch, count, false).cpu();
    least = ops::select_patches(scores, options.patch, count, true).cpu();
    random = random_places(scores.size(1), scores.size(2), options.patch, options.per_image, options.seed, key);
  }
  std::vector<TypicalityOutput> outputs(maps.size(0));
  for (int64_t m = 0; m < maps.size(0); ++m) {
    TypicalityOutput& out = outputs[m];
    out.mean = maps[m].to(at::kDouble).mean().item<double>();
    if (options.keep_maps) out.map = maps[m].clone();
    if (!scores.defined()) continue;
    out.top = scored(scores[m], errors[m], places_of(top[m]));
    out.least = scored(scores[m], errors[m], places_of(least[m]));
    out.random = scored(scores[m], errors[m], random);
    if (options.keep_scores) out.scores = scores[m].cpu().clone(), out.standard_errors = errors[m].cpu().clone();
  }
  return outputs;
}

}  // namespace

TypicalityResult score_typicality(const Model& model, const Conditions& conditions, const TypicalityInput& input,
                                  const TypicalityOptions& options, const Context& context) {
  const Sizes sizes = check(model, conditions, input, options);
  TypicalityResult result;
  const auto timesteps =
      input.timesteps ? input.timesteps->to(at::kCPU, at::kLong).reshape({-1}).contiguous()
                      : at::tensor(draw_timesteps(options.sampler, options.seed, options.samples, options.t_begin, options.t_end), at::kLong);
  result.timesteps.assign(timesteps.const_data_ptr<int64_t>(), timesteps.const_data_ptr<int64_t>() + timesteps.numel());
  result.outputs.resize(sizes.pictures);
  if (sizes.pictures == 0) return result;

  const auto device = model.unet->device();
  const int64_t fold = model.unet->config().pixel_fold;
  const int64_t n = sizes.samples, k = sizes.conditions;
  const int64_t map_height = input.latents.size(2) * fold, map_width = input.latents.size(3) * fold;
  at::Tensor a_h, a_w;
  if (options.patch > 0) {
    a_h = patch_operator(map_height, input.height, options.patch).to(device);
    a_w = patch_operator(map_width, input.width, options.patch).to(device);
  }
  if (options.keep_losses) result.losses = at::empty({sizes.pictures, n, k, map_height, map_width}, at::kFloat);

  const Plan plan = make_plan(model, input, timesteps, sizes);
  const int64_t a_pass = std::max<int64_t>(1, options.batch / k);
  Running running;
  for (int64_t begin = 0; begin < sizes.rows(); begin += a_pass) {
    context.check_cancelled();
    const int64_t end = std::min(begin + a_pass, sizes.rows());
    const auto of = [&](const at::Tensor& all) { return all.slice(0, begin, end); };
    const auto picture = of(plan.picture);
    const auto x0 = plan.latents.index_select(0, picture);
    const auto noise = noises_of(input, options, plan, begin, end);
    const auto x = ops::add_noise(x0, noise, of(plan.a), of(plan.s), model.unet->dtype());
    const auto e = model.unet->forward(x, of(plan.t), conditions, plan.conditions.slice(0, begin * k, end * k), k);  // [P K, C, h, w]
    const auto differences = ops::loss_difference(e, x0, noise, of(plan.target_x), of(plan.target_noise),
                                                  plan.subjects.index_select(0, picture), plan.weights.index_select(0, picture), fold);
    if (options.keep_losses) {
      const auto by_row = [](const at::Tensor& v) { return v.reshape({-1, 1, 1, 1}); };
      const auto target = by_row(of(plan.target_x)) * x0 + by_row(of(plan.target_noise)) * noise;
      const auto loss = (e.unflatten(0, {end - begin, k}) - target.unsqueeze(1)).square();  // [P, K, C, h, w]
      result.losses.flatten(0, 1).slice(0, begin, end).copy_(model.channel_mean(loss));
    }
    for (int64_t b = begin / n; b * n < end; ++b) {
      const int64_t first = std::max(b * n, begin), last = std::min((b + 1) * n, end);
      running.add(differences.slice(0, first - begin, last - begin), a_h, a_w);
      if (last == (b + 1) * n) {
        result.outputs[b] = finish(running, options, b, input.keys[b]);
        running = {};
      }
    }
    context.report("score", end * k, sizes.rows() * k);
  }
  return result;
}

}  // namespace diffmine
