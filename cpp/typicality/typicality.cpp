#include "typicality/typicality.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/queue.h"
#include "core/stage.h"
#include "kernels/ops.h"
#include "typicality/running_mean.h"
#include "typicality/standard_error.h"

namespace diffmine {
namespace {

// Passes that wait on a GPU while the next is being queued: one that runs and one behind it. More would gain nothing,
// make progress a promise, and let a cancelled call run on.
constexpr int64_t kPassesAhead = 2;

struct Sizes {
  int64_t images, conditions, outputs;  // B, K, M
  int64_t all, begin, end;              // N, and the samples [begin, end) of this call
  int64_t samples() const { return end - begin; }
  int64_t rows() const { return images * samples(); }
};

at::Tensor predict(const Model& model, const at::Tensor& x, const at::Tensor& t,
                   const std::shared_ptr<const Conditions>& conditions, const at::Tensor& condition_index,
                   int64_t fan_out, PixelSize size) {
  const Stage stage("unet");
  return model.forward(x, t, conditions, condition_index, fan_out, nullptr, size);
}

[[noreturn]] void refuse(const std::string& what, const std::string& hint = {}) {
  throw Error(code::kInvalidArgument, what, hint);
}

Sizes check(const Model& model, const Conditions& conditions, const TypicalityInput& input,
            const TypicalityOptions& options) {
  const auto& latents = input.latents;
  if (latents.dim() != 4 || latents.size(1) != model.denoiser->channels()) {
    refuse("Typicality is computed on latents [B, " + std::to_string(model.denoiser->channels()) + ", h, w].");
  }
  if (options.samples < 1 || options.batch < 1 || options.patch < 0 || options.per_image < 0) {
    refuse("Samples and batch must be positive; patch and patches per image must not be negative.");
  }
  Sizes s{latents.size(0), 0, 0, options.samples, options.sample_begin, options.sample_end.value_or(options.samples)};
  if (s.begin < 0 || s.begin >= s.end || s.end > s.all) {
    refuse("The range of samples [" + std::to_string(s.begin) + ", " + std::to_string(s.end) + ") must lie in the " +
           std::to_string(s.all) + " samples and not be empty.");
  }
  const auto& weights = options.sample_weights;
  if (!weights.empty() &&
      (static_cast<int64_t>(weights.size()) != s.all ||
       !std::all_of(weights.begin(), weights.end(), [](double w) { return std::isfinite(w) && w >= 0; }))) {
    refuse("Sample weights must be " + std::to_string(s.all) + " finite numbers, none of them negative.");
  }
  if ((input.conditions.dim() != 2 && input.conditions.dim() != 3) || input.subjects.dim() != 2 ||
      input.weights.dim() != 3) {
    refuse("Conditions are given as [B, K] or [B, N, K], subjects as [B, M] and weights as [B, M, K].");
  }
  s.conditions = input.conditions.size(-1), s.outputs = input.subjects.size(1);
  if (input.conditions.dim() == 3 && input.conditions.size(1) != s.all)
    refuse("Conditions per sample must be given for all " + std::to_string(s.all) + " samples.");
  if (input.conditions.size(0) != s.images || input.subjects.size(0) != s.images ||
      input.weights.sizes() != at::IntArrayRef({s.images, s.outputs, s.conditions}) ||
      static_cast<int64_t>(input.keys.size()) != s.images) {
    refuse("Conditions, subjects, weights and keys do not fit " + std::to_string(s.images) + " images.");
  }
  if (s.rows() > 0 && s.conditions * s.outputs == 0) refuse("Every image needs a condition to be scored.");
  if (input.conditions.numel() > 0 &&
      (input.conditions.min().item<int64_t>() < 0 || input.conditions.max().item<int64_t>() >= conditions.rows)) {
    refuse("A condition must be one of the " + std::to_string(conditions.rows) + " prepared ones.");
  }
  if (s.images > 0 && s.outputs > 0 &&
      (input.subjects.min().item<int64_t>() < 0 || input.subjects.max().item<int64_t>() >= s.conditions)) {
    refuse("A subject must be one of its image's " + std::to_string(s.conditions) + " conditions.");
  }
  if (input.height < 1 || input.width < 1) refuse("The image's size in pixels is missing.");
  const auto chw = latents.sizes().slice(1);
  const int64_t fold = model.denoiser->pixel_fold();
  const std::vector<int64_t> earlier{s.images, s.begin, s.outputs, latents.size(2) * fold, latents.size(3) * fold};
  if (s.begin > 0 && (!input.earlier || input.earlier->sizes() != earlier)) {
    refuse("The differences of the " + std::to_string(s.begin) +
               " samples before this call's must be given as [B, begin, M, h', w'].",
           "Keep them with keepDifferences in the calls before.");
  }
  if (input.noises) {
    const auto& n = *input.noises;
    const bool fits =
        (n.dim() == 4 && n.size(0) == s.all) || (n.dim() == 5 && n.size(0) == s.images && n.size(1) == s.all);
    if (!fits || n.sizes().slice(n.dim() - 3) != chw) {
      refuse("The replayed noises must be [N, C, h, w] or [B, N, C, h, w] of " + std::to_string(s.all) +
                 " samples and the latents' shape.",
             "Noises belong to an image's size: check --size and the replay file.");
    }
  }
  const int64_t steps = model.schedule->config().train_timesteps;
  if (input.timesteps) {
    const auto& t = *input.timesteps;
    if (!((t.dim() == 1 && t.size(0) == s.all) || (t.dim() == 2 && t.size(0) == s.images && t.size(1) == s.all))) {
      refuse("The replayed timesteps must be [N] or [B, N] of " + std::to_string(s.all) + " samples.");
    }
    const int64_t last = model.schedule->flow() ? steps : steps - 1;
    if (t.numel() > 0 && !(t.min().item<double>() >= 0 && t.max().item<double>() <= static_cast<double>(last))) {
      refuse("Timesteps must lie in 0 ... " + std::to_string(last) + ".");
    }
  } else if (options.t_begin < 0 || options.t_end > steps || options.t_begin >= options.t_end) {
    refuse("Timesteps are drawn from [begin, end) within 0 ... " + std::to_string(steps) + ".");
  }
  return s;
}

// All that a row (image b, sample begin + i; row b * n + i of the call's n samples) of the work is made of, on the
// device before the first pass: copying it pass by pass would make a GPU wait.
struct Plan {
  at::Tensor image, sample;                           // [B n] which latent; which noise, among those drawn or replayed
  at::Tensor t, a, s, target_x, target_noise, scale;  // [B n]
  at::Tensor conditions;                              // [B n K]
  at::Tensor subjects, weights;                       // [B, M], [B, M, K]
  at::Tensor latents;                                 // [B, C, h, w]
  at::Tensor earlier;                                 // [B, begin, M, h', w'], undefined where begin is 0
  std::vector<std::vector<Spread>> spreads;           // [B][M], for patches
  at::Tensor a_h, a_w;                                // patch operators; undefined for maps alone
  int64_t count = 0;                                  // patches that may be chosen of a score map
  at::Tensor random;                                  // [B, per_image] places of the control patches, 0 after the last
  std::vector<std::vector<int64_t>> randoms;          // the same, on the host
  Loss loss = Loss::kSquared;
};

// How the spread of image b's output m is estimated: by the timesteps where they were stratified, and by how much of
// each condition that comes and goes is in a sample's contrast.
Spread spread_of_output(const TypicalityInput& input, const TypicalityOptions& options,
                        const std::vector<int64_t>& timesteps, int64_t b, int64_t m, int64_t end) {
  Strata strata;
  if (!input.timesteps && options.sampler == Sampler::kStratified)
    strata = {timesteps.data(), options.t_begin, options.t_end};
  at::Tensor rivals;
  if (input.conditions.dim() == 3) {
    const auto rows = input.conditions[b].slice(0, 0, end).to(at::kLong).contiguous();  // [end, K]
    const auto weights = input.weights[b][m].to(at::kDouble).contiguous();              // [K]
    const int64_t k = rows.size(1);
    std::vector<int64_t> known(rows.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>() + rows.numel());
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    const auto count = static_cast<int64_t>(known.size());
    rivals = at::zeros({end, count}, at::kDouble);
    for (int64_t i = 0; i < rows.numel(); ++i) {
      const auto at = std::lower_bound(known.begin(), known.end(), rows.const_data_ptr<int64_t>()[i]) - known.begin();
      rivals.data_ptr<double>()[i / k * count + at] += weights.const_data_ptr<double>()[i % k];
    }
  }
  return spread_of(end, strata, rivals);
}

Plan make_plan(const Model& model, const TypicalityInput& input, const TypicalityOptions& options,
               const at::Tensor& timesteps, const Sizes& sizes) {
  const auto device = model.denoiser->device();
  const auto row = at::arange(sizes.rows(), at::TensorOptions(at::kLong));
  const auto image = row.div(sizes.samples(), "floor"), sample = row.remainder(sizes.samples()) + sizes.begin;
  const auto of_image = image * sizes.all + sample;  // where each image has samples of its own
  const auto t = timesteps.index_select(0, timesteps.size(0) == sizes.images * sizes.all ? of_image : sample);
  const auto [signal, sigma, target_x, target_noise] = model.schedule->levels(t);
  const auto place = [&](const at::Tensor& tensor) { return upload(tensor, device, model.options.pinned_uploads); };
  Plan plan;
  plan.loss = options.loss;
  plan.image = place(image);
  plan.sample = place(input.noises && input.noises->dim() == 5 ? of_image : sample);
  plan.t = place(t), plan.a = place(signal), plan.s = place(sigma);
  plan.target_x = place(target_x);
  plan.target_noise = place(target_noise);
  const auto& weights = options.sample_weights;
  plan.scale = place(weights.empty() ? at::ones_like(sigma) : at::tensor(weights, at::kFloat).index_select(0, sample));
  const auto named = input.conditions.to(at::kLong);
  plan.conditions = place(
      (named.dim() == 3 ? named.flatten(0, 1).index_select(0, of_image) : named.index_select(0, image)).reshape({-1}));
  plan.subjects = place(input.subjects.to(at::kLong));
  plan.weights = place(input.weights.to(at::kFloat));
  plan.latents = place(input.latents.to(at::kFloat)).contiguous();
  if (sizes.begin > 0) plan.earlier = place(input.earlier->to(at::kFloat)).contiguous();
  if (options.patch == 0) return plan;

  const auto whole = timesteps.to(at::kLong);
  const std::vector<int64_t> drawn(whole.const_data_ptr<int64_t>(), whole.const_data_ptr<int64_t>() + whole.numel());
  for (int64_t b = 0; b < sizes.images; ++b) {
    // Images of one label share their contrast.
    if (b > 0 && at::equal(input.conditions[b], input.conditions[b - 1]) &&
        at::equal(input.weights[b], input.weights[b - 1])) {
      plan.spreads.push_back(plan.spreads.back());
      continue;
    }
    auto& spreads = plan.spreads.emplace_back();
    for (int64_t m = 0; m < sizes.outputs; ++m) {
      const auto [basis, scale, trend] = spread_of_output(input, options, drawn, b, m, sizes.end);
      spreads.push_back({place(basis), place(scale), place(trend)});
    }
  }
  const int64_t fold = model.denoiser->pixel_fold();
  plan.a_h = place(patch_operator(input.latents.size(2) * fold, input.height, options.patch));
  plan.a_w = place(patch_operator(input.latents.size(3) * fold, input.width, options.patch));
  const int64_t rows = plan.a_h.size(0), columns = plan.a_w.size(0);
  plan.count = std::min(options.per_image, max_patches(rows, columns, options.patch));
  auto random = at::zeros({sizes.images, options.per_image}, at::kLong);
  for (int64_t b = 0; b < sizes.images; ++b) {
    const auto& places = plan.randoms.emplace_back(
        random_places(rows, columns, options.patch, options.per_image, options.seed, input.keys[b]));
    std::copy(places.begin(), places.end(), random.data_ptr<int64_t>() + b * options.per_image);
  }
  plan.random = place(random);
  return plan;
}

struct Noised {
  at::Tensor x, noise;
};  // [P, C, h, w]: what the denoiser sees, and the noise in it (fp32)

// As loss_gap has it (kernels/loss_difference.h).
at::Tensor loss_of(Loss loss, const at::Tensor& error) {
  if (loss == Loss::kSquared) return error.square();
  if (loss == Loss::kAbsolute) return error.abs();
  const double c = kHuberWidth;
  return ((error.square() + c * c).sqrt() - c) * (2 * c);
}

// Rows [begin, end), with replayed noises or those drawn by their keys.
Noised noised(const Model& model, const TypicalityInput& input, const TypicalityOptions& options, const Plan& plan,
              int64_t begin, int64_t end) {
  const Stage stage("noise");
  const auto of = [&](const at::Tensor& all) { return all.slice(0, begin, end); };
  if (!input.noises) {
    auto [x, noise] =
        ops::draw_and_add_noise(plan.latents, of(plan.image), of(plan.sample), of(plan.a), of(plan.s), options.seed,
                                static_cast<uint32_t>(Stream::kScan), model.denoiser->dtype());
    return {std::move(x), std::move(noise)};
  }
  const auto all = input.noises->reshape({-1, plan.latents.size(1), plan.latents.size(2), plan.latents.size(3)});
  const auto noise = all.index_select(0, of(plan.sample).to(all.device())).to(plan.latents.device(), at::kFloat);
  return {ops::add_noise(plan.latents.index_select(0, of(plan.image)), noise, of(plan.a), of(plan.s),
                         model.denoiser->dtype()),
          noise};
}

// One image from its first sample to its last: the running mean of its maps and, where they are needed, its loss
// differences.
struct Running {
  RunningMean map;         // [M, h', w']
  at::Tensor differences;  // [end, M, h', w'], undefined where nothing needs them

  void begin(const Plan& plan, int64_t b, at::IntArrayRef shape, bool keep) {
    if (keep) differences = at::empty(shape, plan.latents.options());
    if (!plan.earlier.defined()) return;
    const auto before = plan.earlier.select(0, b);
    map.add(before);
    if (keep) differences.slice(0, 0, before.size(0)).copy_(before);
  }

  // e [n K, C, h, w] and noise [n, C, h, w] of rows [first, last), all of image b.
  void add(const at::Tensor& e, const at::Tensor& noise, const Plan& plan, int64_t b, int64_t first, int64_t last,
           int64_t fold) {
    const auto of = [&](const at::Tensor& all) { return all.slice(0, first, last); };
    const auto subjects = plan.subjects.select(0, b), weights = plan.weights.select(0, b),
               x0 = plan.latents.select(0, b);
    const int64_t n = last - first;
    const auto kept = differences.defined() ? differences.slice(0, map.count(), map.count() + n) : at::Tensor();
    map.add(n, {subjects.size(0), x0.size(1) * fold, x0.size(2) * fold}, x0.options(),
            [&](int64_t count, at::Tensor& mean) {
              ops::loss_difference(e, x0, noise, of(plan.target_x), of(plan.target_noise), of(plan.scale), subjects,
                                   weights, fold, count, mean, kept, plan.loss);
            });
  }
};

// One image's results, still on the device: nothing waits for them but the end of the call.
struct Finished {
  at::Tensor numbers;  // [1 + M h' w' + 2 M (2 count + per_image)] fp32: 1 where all is finite, maps, scores and
                       // standard errors at the places
  at::Tensor places;   // [M, 2 count] top, bottom; undefined for maps alone
  at::Tensor scores, standard_errors;  // [M, R, S] when kept
};

Finished finish(const Running& running, const TypicalityOptions& options, const Plan& plan, int64_t b) {
  const Stage stage("select");
  const auto& maps = running.map.mean();
  auto finite = at::isfinite(maps).all();
  Finished done;
  if (!plan.a_h.defined()) {
    done.numbers = at::cat({finite.to(at::kFloat).reshape({1}), maps.reshape({-1})});
    return done;
  }
  const auto scores = patch_scores(maps, plan.a_h, plan.a_w);
  const auto errors = standard_errors(running.differences, plan.spreads[b], plan.a_h, plan.a_w);
  finite = finite.logical_and(at::isfinite(scores).all());
  const auto [top, bottom] = ops::select_extremes(scores, options.patch, plan.count);
  done.places = at::cat({top, bottom}, 1);
  const auto all = at::cat({done.places.clamp_min(0), plan.random.slice(0, b, b + 1).expand({maps.size(0), -1})}, 1);
  const auto chosen = [&](const at::Tensor& map) { return map.flatten(1).gather(1, all).reshape({-1}); };
  done.numbers = at::cat({finite.to(at::kFloat).reshape({1}), maps.reshape({-1}), chosen(scores), chosen(errors)});
  if (options.keep_scores) done.scores = scores.cpu(), done.standard_errors = errors.cpu();
  return done;
}

// All images' results, brought to the host in two copies.
std::vector<std::vector<TypicalityOutput>> collect(const std::vector<Finished>& finished,
                                                   const TypicalityOptions& options, const Plan& plan, int64_t outputs,
                                                   int64_t height, int64_t width) {
  const Stage stage("select");
  const auto together = [&](at::Tensor Finished::*part) {
    std::vector<at::Tensor> parts;
    for (const auto& one : finished) parts.push_back(one.*part);
    return at::stack(parts).cpu();
  };
  const bool scored = plan.a_h.defined();
  const auto numbers = together(&Finished::numbers);  // [B, ...]
  const auto places = scored ? together(&Finished::places) : at::Tensor();
  const int64_t columns = scored ? plan.a_w.size(0) : 0, listed = scored ? 2 * plan.count + options.per_image : 0;
  std::vector<std::vector<TypicalityOutput>> all;
  for (int64_t b = 0; b < numbers.size(0); ++b) {
    if (numbers[b][0].item<float>() == 0) {
      throw Error(code::kNumerics,
                  "The typicality of image " + std::to_string(b) + " of the batch is not finite (NaN or infinity).",
                  "fp16 may overflow: use bf16 or fp32. In fp32, the model's weights or the image are damaged.");
    }
    const auto maps = numbers[b].slice(0, 1, 1 + outputs * height * width).view({outputs, height, width});
    std::vector<TypicalityOutput>& of_image = all.emplace_back(outputs);
    for (int64_t m = 0; m < outputs; ++m) {
      TypicalityOutput& out = of_image[m];
      out.mean = maps[m].to(at::kDouble).mean().item<double>();
      if (options.keep_maps) out.map = maps[m].clone();
      if (!scored) continue;
      const float* score = maps.const_data_ptr<float>() + maps.numel() + m * listed;
      const float* error = score + outputs * listed;
      const int64_t* place = places[b][m].const_data_ptr<int64_t>();
      const auto add = [&](std::vector<ScoredPatch>& list, int64_t at, int64_t i) {
        if (at >= 0) list.push_back({at / columns, at % columns, score[i], error[i]});
      };
      for (int64_t i = 0; i < plan.count; ++i)
        add(out.top, place[i], i), add(out.bottom, place[plan.count + i], plan.count + i);
      for (size_t i = 0; i < plan.randoms[b].size(); ++i)
        add(out.random, plan.randoms[b][i], 2 * plan.count + static_cast<int64_t>(i));
      if (options.keep_scores)
        out.scores = finished[b].scores[m].clone(), out.standard_errors = finished[b].standard_errors[m].clone();
    }
  }
  return all;
}

}  // namespace

TypicalityResult score_typicality(const Model& model, const std::shared_ptr<const Conditions>& conditions,
                                  const TypicalityInput& input, const TypicalityOptions& options,
                                  const Context& context) {
  const Sizes sizes = check(model, *conditions, input, options);
  TypicalityResult result;
  const auto given =
      input.timesteps
          ? input.timesteps->to(at::kCPU).reshape({-1})
          : at::tensor(draw_timesteps(options.sampler, options.seed, options.samples, options.t_begin, options.t_end),
                       at::kLong);
  const auto timesteps = given.to(model.schedule->flow() ? at::kFloat : at::kLong).contiguous();
  const auto exact = timesteps.to(at::kDouble);
  result.timesteps.assign(exact.const_data_ptr<double>(), exact.const_data_ptr<double>() + exact.numel());
  if (sizes.images == 0) return result;

  const int64_t fold = model.denoiser->pixel_fold();
  const int64_t n = sizes.samples(), k = sizes.conditions;
  const int64_t map_height = input.latents.size(2) * fold, map_width = input.latents.size(3) * fold;
  if (options.keep_losses) result.losses = at::empty({sizes.images, n, k, map_height, map_width}, at::kFloat);

  const Plan plan = make_plan(model, input, options, timesteps, sizes);
  const int64_t a_pass = std::max<int64_t>(1, options.batch / k);
  const bool keep = options.patch > 0 || options.keep_differences;
  Running running;
  std::vector<Finished> finished;
  std::vector<at::Tensor> differences;
  DeviceQueue queue(model.denoiser->device(), kPassesAhead);
  for (int64_t begin = 0; begin < sizes.rows(); begin += a_pass) {
    queue.wait_for_room();
    context.check_cancelled();
    const int64_t end = std::min(begin + a_pass, sizes.rows());
    const auto of = [&](const at::Tensor& all) { return all.slice(0, begin, end); };
    if (input.ready) {
      for (int64_t b = begin / n; b * n < end; ++b) input.ready(b);
    }
    const auto [x, noise] = noised(model, input, options, plan, begin, end);
    const auto e = predict(model, x, of(plan.t), conditions, plan.conditions.slice(0, begin * k, end * k), k,
                           {input.height, input.width});  // [P K, C, h, w]
    if (options.keep_losses) {
      const auto by_row = [](const at::Tensor& v) { return v.reshape({-1, 1, 1, 1}); };
      const auto x0 = plan.latents.index_select(0, of(plan.image));
      const auto target = by_row(of(plan.target_x)) * x0 + by_row(of(plan.target_noise)) * noise;
      const auto error = e.unflatten(0, {end - begin, k}) - target.unsqueeze(1);  // [P, K, C, h, w]
      result.losses.flatten(0, 1).slice(0, begin, end).copy_(model.channel_mean(loss_of(options.loss, error)));
    }
    for (int64_t b = begin / n; b * n < end; ++b) {
      const int64_t first = std::max(b * n, begin), last = std::min((b + 1) * n, end);
      {
        const Stage stage("score");
        if (first == b * n) running.begin(plan, b, {sizes.end, sizes.outputs, map_height, map_width}, keep);
        running.add(e.slice(0, (first - begin) * k, (last - begin) * k), noise.slice(0, first - begin, last - begin),
                    plan, b, first, last, fold);
      }
      if (last == (b + 1) * n) {
        finished.push_back(finish(running, options, plan, b));
        if (options.keep_differences) differences.push_back(running.differences.slice(0, sizes.begin));
        running = {};
      }
    }
    queue.mark();
    context.report("score", end * k, sizes.rows() * k);
  }
  if (options.keep_differences) result.differences = at::stack(differences).cpu();
  result.outputs = collect(finished, options, plan, sizes.outputs, map_height, map_width);
  return result;
}

}  // namespace diffmine
