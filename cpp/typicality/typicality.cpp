#include "typicality/typicality.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/queue.h"
#include "core/stage.h"
#include "kernels/ops.h"
#include "typicality/moments.h"

namespace diffmine {
namespace {

// Score maps of one image are made for this many bytes of samples at a time: enough to fill a device, little beside its
// activations.
constexpr int64_t kScoreBytes = int64_t{64} << 20;
// Passes that wait on a GPU while the next is being queued: one that runs and one behind it. More would gain nothing,
// make progress a promise, and let a cancelled call run on.
constexpr int64_t kPassesAhead = 2;

struct Sizes {
  int64_t images, samples, conditions, outputs;  // B, N, K, M
  int64_t rows() const { return images * samples; }
};

at::Tensor predict(const Model& model, const at::Tensor& x, const at::Tensor& t,
                   const std::shared_ptr<const Conditions>& conditions, const at::Tensor& condition_index,
                   int64_t fan_out) {
  const Stage stage("unet");
  return model.forward(x, t, conditions, condition_index, fan_out);
}

[[noreturn]] void refuse(const std::string& what, const std::string& hint = {}) {
  throw Error(code::kInvalidArgument, what, hint);
}

Sizes check(const Model& model, const Conditions& conditions, const TypicalityInput& input,
            const TypicalityOptions& options) {
  const auto& latents = input.latents;
  if (latents.dim() != 4 || latents.size(1) != model.unet->config().in_channels) {
    refuse("Typicality is computed on latents [B, " + std::to_string(model.unet->config().in_channels) + ", h, w].");
  }
  Sizes s{latents.size(0), options.samples, 0, 0};
  if (input.conditions.dim() != 2 || input.subjects.dim() != 2 || input.weights.dim() != 3) {
    refuse("Conditions are given as [B, K], subjects as [B, M] and weights as [B, M, K].");
  }
  s.conditions = input.conditions.size(1), s.outputs = input.subjects.size(1);
  if (input.conditions.size(0) != s.images || input.subjects.size(0) != s.images ||
      input.weights.sizes() != at::IntArrayRef({s.images, s.outputs, s.conditions}) ||
      static_cast<int64_t>(input.keys.size()) != s.images) {
    refuse("Conditions, subjects, weights and keys do not fit " + std::to_string(s.images) + " images.");
  }
  if (s.rows() > 0 && s.conditions * s.outputs == 0) refuse("Every image needs a condition to be scored.");
  if (input.conditions.numel() > 0 && (input.conditions.min().item<int64_t>() < 0 ||
                                       input.conditions.max().item<int64_t>() >= condition_rows(conditions))) {
    refuse("A condition must be one of the " + std::to_string(condition_rows(conditions)) + " prepared ones.");
  }
  if (s.images > 0 && s.outputs > 0 &&
      (input.subjects.min().item<int64_t>() < 0 || input.subjects.max().item<int64_t>() >= s.conditions)) {
    refuse("A subject must be one of its image's " + std::to_string(s.conditions) + " conditions.");
  }
  if (options.samples < 1 || options.batch < 1 || options.patch < 0 || options.per_image < 0) {
    refuse("Samples and batch must be positive; patch and patches per image must not be negative.");
  }
  if (input.height < 1 || input.width < 1) refuse("The image's size in pixels is missing.");
  const auto chw = latents.sizes().slice(1);
  if (input.noises) {
    const auto& n = *input.noises;
    const bool fits =
        (n.dim() == 4 && n.size(0) == s.samples) || (n.dim() == 5 && n.size(0) == s.images && n.size(1) == s.samples);
    if (!fits || n.sizes().slice(n.dim() - 3) != chw) {
      refuse("The replayed noises must be [N, C, h, w] or [B, N, C, h, w] of " + std::to_string(s.samples) +
                 " samples and the latents' shape.",
             "Noises belong to an image's size: check --size and the replay file.");
    }
  }
  const int64_t steps = model.schedule->config().train_timesteps;
  if (input.timesteps) {
    const auto& t = *input.timesteps;
    if (!((t.dim() == 1 && t.size(0) == s.samples) ||
          (t.dim() == 2 && t.size(0) == s.images && t.size(1) == s.samples))) {
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

// All that a row (image b, sample n; row b * N + n) of the work is made of, on the device before the first pass:
// copying it pass by pass would make a GPU wait.
struct Plan {
  at::Tensor image, sample;                    // [B N] which latent; which noise, among those drawn or replayed
  at::Tensor t, a, s, target_x, target_noise;  // [B N]
  at::Tensor conditions;                       // [B N K]
  at::Tensor subjects, weights;                // [B, M], [B, M, K]
  at::Tensor latents;                          // [B, C, h, w]
  at::Tensor a_h, a_w;                         // patch operators; undefined for maps alone
  int64_t count = 0;                           // patches that may be chosen of a score map
  at::Tensor random;                           // [B, per_image] places of the control patches, 0 after the last
  std::vector<std::vector<int64_t>> randoms;   // the same, on the host
};

Plan make_plan(const Model& model, const TypicalityInput& input, const TypicalityOptions& options,
               const at::Tensor& timesteps, const Sizes& sizes) {
  const auto device = model.unet->device();
  const auto row = at::arange(sizes.rows(), at::TensorOptions(at::kLong));
  const auto image = row.div(sizes.samples, "floor"), sample = row.remainder(sizes.samples);
  const auto t = timesteps.index_select(0, timesteps.size(0) == sizes.rows() ? row : sample);
  const auto alpha_bar = model.schedule->alphas_cumprod().index_select(0, t);
  const auto a = at::sqrt(alpha_bar), s = at::sqrt(1 - alpha_bar);
  const bool velocity = model.schedule->config().prediction == Prediction::kVelocity;  // v = a eps - s x
  const auto place = [&](const at::Tensor& tensor) { return upload(tensor, device, model.options.pinned_uploads); };
  Plan plan;
  plan.image = place(image);
  plan.sample = place(input.noises && input.noises->dim() == 5 ? row : sample);
  plan.t = place(t), plan.a = place(a), plan.s = place(s);
  plan.target_x = place(velocity ? -s : at::zeros_like(s));
  plan.target_noise = place(velocity ? a : at::ones_like(a));
  plan.conditions = place(input.conditions.to(at::kLong).index_select(0, image).reshape({-1}));
  plan.subjects = place(input.subjects.to(at::kLong));
  plan.weights = place(input.weights.to(at::kFloat));
  plan.latents = place(input.latents.to(at::kFloat)).contiguous();
  if (options.patch == 0) return plan;

  const int64_t fold = model.unet->config().pixel_fold;
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
};  // [P, C, h, w]: what the UNet sees, and the noise in it (fp32)

// Rows [begin, end), with replayed noises or those drawn by their keys.
Noised noised(const Model& model, const TypicalityInput& input, const TypicalityOptions& options, const Plan& plan,
              int64_t begin, int64_t end) {
  const Stage stage("noise");
  const auto of = [&](const at::Tensor& all) { return all.slice(0, begin, end); };
  if (!input.noises) {
    auto [x, noise] = ops::draw_and_add_noise(plan.latents, of(plan.image), of(plan.sample), of(plan.a), of(plan.s),
                                              options.seed, static_cast<uint32_t>(Stream::kScan), model.unet->dtype());
    return {std::move(x), std::move(noise)};
  }
  const auto all = input.noises->reshape({-1, plan.latents.size(1), plan.latents.size(2), plan.latents.size(3)});
  const auto noise = all.index_select(0, of(plan.sample).to(all.device())).to(plan.latents.device(), at::kFloat);
  return {
      ops::add_noise(plan.latents.index_select(0, of(plan.image)), noise, of(plan.a), of(plan.s), model.unet->dtype()),
      noise};
}

// One image's running means, from its first sample to its last.
struct Running {
  Moments map, scores;  // [M, h', w'], [M, R, S]

  // e [n K, C, h, w] and noise [n, C, h, w] of rows [first, last), all of image b.
  void add(const at::Tensor& e, const at::Tensor& noise, const Plan& plan, int64_t b, int64_t first, int64_t last,
           int64_t fold) {
    const auto of = [&](const at::Tensor& all) { return all.slice(0, first, last); };
    const auto subjects = plan.subjects.select(0, b), weights = plan.weights.select(0, b),
               x0 = plan.latents.select(0, b);
    at::Tensor differences;  // [n, M, h', w']
    map.add(last - first, {subjects.size(0), x0.size(1) * fold, x0.size(2) * fold}, x0.options(),
            [&](int64_t count, at::Tensor& mean, at::Tensor& m2) {
              differences = ops::loss_moments(e, x0, noise, of(plan.target_x), of(plan.target_noise), subjects, weights,
                                              fold, count, mean, m2, plan.a_h.defined());
            });
    if (!plan.a_h.defined()) return;
    const int64_t bytes = subjects.size(0) * plan.a_h.size(0) * plan.a_w.size(0) * int64_t{sizeof(float)};
    const int64_t at_once = std::max<int64_t>(1, kScoreBytes / bytes);
    for (int64_t n = 0; n < differences.size(0); n += at_once) {
      scores.add(patch_scores(differences.slice(0, n, std::min(n + at_once, differences.size(0))), plan.a_h, plan.a_w));
    }
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
  const auto& scores = running.scores.mean();
  auto finite = at::isfinite(maps).all();
  Finished done;
  if (!scores.defined()) {
    done.numbers = at::cat({finite.to(at::kFloat).reshape({1}), maps.reshape({-1})});
    return done;
  }
  const auto errors = running.scores.standard_error();
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
  const auto timesteps =
      input.timesteps
          ? input.timesteps->to(at::kCPU, at::kLong).reshape({-1}).contiguous()
          : at::tensor(draw_timesteps(options.sampler, options.seed, options.samples, options.t_begin, options.t_end),
                       at::kLong);
  result.timesteps.assign(timesteps.const_data_ptr<int64_t>(), timesteps.const_data_ptr<int64_t>() + timesteps.numel());
  if (sizes.images == 0) return result;

  const int64_t fold = model.unet->config().pixel_fold;
  const int64_t n = sizes.samples, k = sizes.conditions;
  const int64_t map_height = input.latents.size(2) * fold, map_width = input.latents.size(3) * fold;
  if (options.keep_losses) result.losses = at::empty({sizes.images, n, k, map_height, map_width}, at::kFloat);

  const Plan plan = make_plan(model, input, options, timesteps, sizes);
  const int64_t a_pass = std::max<int64_t>(1, options.batch / k);
  Running running;
  std::vector<Finished> finished;
  DeviceQueue queue(model.unet->device(), kPassesAhead);
  for (int64_t begin = 0; begin < sizes.rows(); begin += a_pass) {
    queue.wait_for_room();
    context.check_cancelled();
    const int64_t end = std::min(begin + a_pass, sizes.rows());
    const auto of = [&](const at::Tensor& all) { return all.slice(0, begin, end); };
    if (input.ready) {
      for (int64_t b = begin / n; b * n < end; ++b) input.ready(b);
    }
    const auto [x, noise] = noised(model, input, options, plan, begin, end);
    const auto e =
        predict(model, x, of(plan.t), conditions, plan.conditions.slice(0, begin * k, end * k), k);  // [P K, C, h, w]
    if (options.keep_losses) {
      const auto by_row = [](const at::Tensor& v) { return v.reshape({-1, 1, 1, 1}); };
      const auto x0 = plan.latents.index_select(0, of(plan.image));
      const auto target = by_row(of(plan.target_x)) * x0 + by_row(of(plan.target_noise)) * noise;
      const auto loss = (e.unflatten(0, {end - begin, k}) - target.unsqueeze(1)).square();  // [P, K, C, h, w]
      result.losses.flatten(0, 1).slice(0, begin, end).copy_(model.channel_mean(loss));
    }
    for (int64_t b = begin / n; b * n < end; ++b) {
      const int64_t first = std::max(b * n, begin), last = std::min((b + 1) * n, end);
      {
        const Stage stage("score");
        running.add(e.slice(0, (first - begin) * k, (last - begin) * k), noise.slice(0, first - begin, last - begin),
                    plan, b, first, last, fold);
      }
      if (last == (b + 1) * n) {
        finished.push_back(finish(running, options, plan, b));
        running = {};
      }
    }
    queue.mark();
    context.report("score", end * k, sizes.rows() * k);
  }
  result.outputs = collect(finished, options, plan, sizes.outputs, map_height, map_width);
  return result;
}

}  // namespace diffmine
