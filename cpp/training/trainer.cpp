#include "training/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_unique2.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/floor.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "diffusion/noise.h"
#include "training/loss.h"
#include "weights/lora.h"
#include "weights/safetensors.h"

namespace diffmine {
namespace {

constexpr const char* kFormat = "diffmine-training-1";

// One seed per step, from a block that no noise reaches.
uint64_t step_seed(uint64_t seed, int64_t step) {
  const Uint4 r = philox_block(seed, static_cast<uint32_t>(step), Stream::kTraining, UINT64_MAX);
  return static_cast<uint64_t>(r.x) << 32 | r.y;
}

std::vector<at::Tensor> leaves(const Denoiser& denoiser) {
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : denoiser.parameters()) tensors.push_back(tensor);
  return tensors;
}

at::Tensor stored(const at::Tensor& tensor, at::ScalarType dtype = at::kFloat) {
  return tensor.detach().to(at::kCPU, dtype).contiguous();
}

// The denoiser computes with other values of its parameters while this lives: storages change hands, nothing is copied.
class Substitute {
 public:
  Substitute(const std::vector<at::Tensor>& parameters, const std::vector<at::Tensor>& values)
      : parameters_(parameters) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      own_.push_back(parameters_[i].variable_data());
      parameters_[i].set_data(values[i]);
    }
  }
  Substitute(const Substitute&) = delete;
  ~Substitute() {
    for (size_t i = 0; i < own_.size(); ++i) parameters_[i].set_data(own_[i]);
  }

 private:
  const std::vector<at::Tensor>& parameters_;
  std::vector<at::Tensor> own_;
};

void check(const Denoiser& denoiser, const Schedule& schedule, const TrainerOptions& o) {
  const auto refuse = [](const std::string& what, const std::string& hint) {
    throw Error(code::kInvalidArgument, what, hint);
  };
  if (denoiser.parameters().empty())
    refuse("The model was not loaded for training.", "Load it with DenoiserOptions::trainable.");
  if (denoiser.dtype() == at::kHalf && o.loss_scale == 0)
    refuse("Training in fp16 would lose small gradients.", "Scale the loss, or use bf16 or fp32.");
  const auto within = [&](bool good, const char* name, double value) {
    if (!good) refuse(std::string("The training option ") + name + " cannot be " + std::to_string(value) + ".", "");
  };
  within(std::isfinite(o.rate.peak) && o.rate.peak >= 0, "learning rate", o.rate.peak);
  within(o.rate.warmup >= 0, "warmup", static_cast<double>(o.rate.warmup));
  within(o.rate.schedule == LearningRateSchedule::kConstant || o.rate.total > o.rate.warmup, "total steps",
         static_cast<double>(o.rate.total));
  within(o.adamw.beta1 >= 0 && o.adamw.beta1 < 1, "beta1", o.adamw.beta1);
  within(o.adamw.beta2 >= 0 && o.adamw.beta2 < 1, "beta2", o.adamw.beta2);
  within(o.adamw.epsilon > 0, "epsilon", o.adamw.epsilon);
  within(o.adamw.weight_decay >= 0, "weight decay", o.adamw.weight_decay);
  within(o.max_gradient_norm >= 0, "largest gradient norm", o.max_gradient_norm);
  within(o.ema_decay >= 0 && o.ema_decay < 1, "EMA decay", o.ema_decay);
  within(o.min_snr >= 0, "Min-SNR gamma", o.min_snr);
  if (o.min_snr > 0 && schedule.flow()) refuse("Min-SNR weights are not defined for a flow.", "Train without them.");
  int exponent = 0;
  within(o.loss_scale == 0 ||
             (o.loss_scale > 0 && std::isfinite(o.loss_scale) && std::frexp(o.loss_scale, &exponent) == 0.5),
         "loss scale", o.loss_scale);
  within(o.wide_fraction >= 0 && o.wide_fraction <= 1, "wide fraction", o.wide_fraction);
  if (o.t_begin < 0 || o.t_end <= o.t_begin || o.t_end > schedule.config().train_timesteps) {
    refuse("Cannot train on the timesteps [" + std::to_string(o.t_begin) + ", " + std::to_string(o.t_end) + ").",
           "The schedule has " + std::to_string(schedule.config().train_timesteps) + ".");
  }
}

std::string diverged(const char* what, int64_t step) {
  return std::string("The training diverged: in step ") + std::to_string(step + 1) + " the " + what + " is not finite.";
}

constexpr const char* kDivergedHint = "Lower the learning rate, clip gradients, or resume from an earlier checkpoint.";

}  // namespace

Trainer::Trainer(std::shared_ptr<Denoiser> denoiser, std::shared_ptr<const Schedule> schedule,
                 const ConditionInput& conditions, const TrainerOptions& options)
    : denoiser_((check(*denoiser, *schedule, options), std::move(denoiser))),
      schedule_(std::move(schedule)),
      options_(options),
      parameters_(leaves(*denoiser_)),
      optimizer_([this] {
        const c10::InferenceMode differentiable(
            false);  // moments made in inference mode could not be updated outside it
        return AdamW(parameters_, options_.adamw);
      }()) {
  const c10::InferenceMode differentiable(false);
  conditions_ = conditions.each(
      [&](const at::Tensor& part) { return part.to(denoiser_->device(), part.scalar_type(), false, /*copy=*/true); });
  if (options_.ema_decay > 0) ema_.emplace(parameters_, options_.ema_decay);
  if (options_.loss_scale > 0) scale_ = LossScale{options_.loss_scale};
}

at::Tensor Trainer::losses(const TrainingBatch& batch, uint64_t key, int64_t first) const {
  const auto device = denoiser_->device();
  const int64_t count = batch.x0.dim() == 4 ? batch.x0.size(0) : 0;
  if (count == 0 || batch.conditions.dim() != 1 || batch.conditions.size(0) != count) {
    throw Error(code::kInvalidArgument,
                "A training batch needs x0 [B, C, H, W] with B > 0 and one condition per image.");
  }
  if (batch.noise.defined() && batch.noise.sizes() != batch.x0.sizes())
    throw Error(code::kInvalidArgument, "The noise of a training batch must have the shape of x0.");
  at::Tensor t = batch.timesteps;
  if (!t.defined()) {
    t = at::tensor(mixed_timesteps(key, first, count, options_.t_begin, options_.t_end, options_.wide_fraction,
                                   schedule_->config().train_timesteps),
                   at::kLong);
  }
  const at::Tensor x0 = batch.x0.to(device, at::kFloat);
  const at::Tensor noise = batch.noise.defined()
                               ? batch.noise.to(device, at::kFloat)
                               : draw_noise(key, first, count, x0.sizes().slice(1), Stream::kTraining, device);
  const at::Tensor loss = prediction_loss(forward(schedule_->add_noise(x0, noise, t), t, batch.conditions),
                                          schedule_->target(x0, noise, t));
  return options_.min_snr > 0 ? loss * min_snr_weights(*schedule_, t, options_.min_snr).to(device) : loss;
}

at::Tensor Trainer::forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& rows) const {
  const at::Tensor named = rows.to(at::kCPU);
  if (named.min().item<int64_t>() < 0 || named.max().item<int64_t>() >= conditions_.rows()) {
    throw Error(code::kInvalidArgument, "A condition index of the training batch is outside 0 ... " +
                                            std::to_string(conditions_.rows() - 1) + ".");
  }
  // Only the conditions of this batch are prepared, inside the graph: keys and values are projections that are trained
  // too.
  const auto [distinct, index, counts] = at::_unique2(named, /*sorted=*/true, /*return_inverse=*/true);
  const at::Tensor used = distinct.to(denoiser_->device());
  const auto prepared =
      denoiser_->prepare(conditions_.each([&](const at::Tensor& part) { return part.index_select(0, used); }));
  const PixelSize size{x.size(2) * options_.cell, x.size(3) * options_.cell};
  return denoiser_->forward(x, t, *prepared, index, 1, nullptr, size);
}

void Trainer::accumulate(const TrainingBatch& batch, int64_t total) {
  if (total < 1 || accumulated_ + (batch.x0.dim() ? batch.x0.size(0) : 0) > total) {
    throw Error(code::kInvalidArgument,
                "The batches of a step have more than the " + std::to_string(total) + " images announced.");
  }
  const c10::InferenceMode differentiable(false);
  const at::Tensor loss =
      losses(batch, step_seed(options_.seed, steps()), accumulated_).sum() / static_cast<double>(total);
  const double value = loss.item<double>();
  if (std::isfinite(value)) {
    (scale_ ? loss * scale_->value : loss).backward();
  } else if (scale_) {
    overflowed_ = true;
  } else {
    drop_gradients();
    throw Error(code::kNumerics, diverged("loss", steps()), kDivergedHint);
  }
  loss_ += value;
  accumulated_ += batch.x0.size(0);
}

TrainingStep Trainer::update() {
  if (accumulated_ == 0)
    throw Error(code::kInvalidArgument, "There are no gradients to update the weights with.", "Call accumulate first.");
  const c10::InferenceMode differentiable(false);
  const at::NoGradGuard no_graph;
  const auto gradients = this->gradients();
  if (scale_ && !gradients.empty()) at::_foreach_mul_(gradients, 1 / scale_->value);
  TrainingStep done{steps() + 1, loss_, global_norm(gradients), options_.rate.at(steps())};
  if (overflowed_ || !std::isfinite(done.gradient_norm)) {
    drop_gradients();
    if (scale_) scale_->skip();
    if (!scale_ || scale_->skipped >= LossScale::kMaxSkipped)
      throw Error(code::kNumerics, diverged("gradient", steps()), kDivergedHint);
    done.step = steps();
    done.skipped = true;
    return done;
  }
  if (options_.max_gradient_norm > 0) clip_gradients(gradients, done.gradient_norm, options_.max_gradient_norm);
  optimizer_.step(done.rate);
  if (ema_) ema_->update(steps());
  if (scale_) scale_->stepped();
  drop_gradients();
  return done;
}

TrainingStep Trainer::step(const TrainingBatch& batch) {
  accumulate(batch, batch.x0.size(0));
  return update();
}

double Trainer::evaluate(const TrainingBatch& batch, uint64_t key, bool average) const {
  const c10::InferenceMode differentiable(false);
  const at::NoGradGuard no_graph;
  std::optional<Substitute> averaged;
  if (average) averaged.emplace(parameters_, averages());
  return losses(batch, key, 0).mean().item<double>();
}

at::Tensor Trainer::predict(const at::Tensor& x, const at::Tensor& t, const at::Tensor& rows, bool average) const {
  if (x.dim() != 4 || x.size(0) == 0 || rows.dim() != 1 || rows.size(0) != x.size(0)) {
    throw Error(code::kInvalidArgument, "A prediction needs x [B, C, H, W] with B > 0 and one condition per input.");
  }
  const c10::InferenceMode differentiable(false);
  const at::NoGradGuard no_graph;
  std::optional<Substitute> averaged;
  if (average) averaged.emplace(parameters_, averages());
  if (!schedule_->flow() && !t.equal(t.floor()))
    throw Error(code::kInvalidArgument, "This model takes whole numbers as timesteps.");
  return forward(x.to(denoiser_->device(), at::kFloat), t.to(schedule_->flow() ? at::kFloat : at::kLong), rows);
}

const std::vector<at::Tensor>& Trainer::averages() const {
  if (!ema_)
    throw Error(code::kInvalidArgument, "This training has no moving average of the weights.", "Set the EMA decay.");
  return ema_->averages();
}

void Trainer::drop_gradients() {
  for (const auto& parameter : parameters_) parameter.mutable_grad().reset();
  accumulated_ = 0;
  loss_ = 0;
  overflowed_ = false;
}

std::vector<at::Tensor> Trainer::gradients() const {
  std::vector<at::Tensor> found;
  for (const auto& parameter : parameters_) {
    if (parameter.grad().defined()) found.push_back(parameter.grad());
  }
  return found;
}

int64_t Trainer::trained() const {
  int64_t count = 0;
  for (const auto& parameter : parameters_) count += parameter.numel();
  return count;
}

int64_t Trainer::bytes() const {
  int64_t bytes = denoiser_->lora() ? denoiser_->weight_bytes() : 0;
  for (const auto& [name, tensor] : state()) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

// --- state ---

Trainer::Named Trainer::state() const {
  Named tensors;
  const auto& named = denoiser_->parameters();
  for (size_t i = 0; i < named.size(); ++i) {
    const auto& name = named[i].first;
    tensors.emplace_back("weight." + name, parameters_[i]);
    tensors.emplace_back("first_moment." + name, optimizer_.first_moments()[i]);
    tensors.emplace_back("second_moment." + name, optimizer_.second_moments()[i]);
    if (ema_) tensors.emplace_back("average." + name, ema_->averages()[i]);
  }
  return tensors;
}

void Trainer::save(const std::string& path) const {
  if (accumulated_) throw Error(code::kInvalidArgument, "A training can only be saved between steps.");
  Named tensors = state();
  for (auto& [name, tensor] : tensors) tensor = tensor.detach();
  std::map<std::string, std::string> metadata{{"format", kFormat}, {"step", std::to_string(steps())}};
  if (denoiser_->lora()) metadata["alpha"] = std::to_string(denoiser_->lora()->alpha);
  if (scale_) {
    metadata["loss_scale"] = std::to_string(std::ilogb(scale_->value));  // its power of two
    metadata["good_steps"] = std::to_string(scale_->good);
  }
  write_safetensors(path, tensors, metadata);
}

void Trainer::load(const std::string& path) {
  const auto file = SafetensorsFile::open(path);
  const auto refuse = [&](const std::string& what) {
    throw Error(code::kModelInvalid, path + " " + what + ".",
                "Training resumes only from a checkpoint of the same model and the same kind of average.");
  };
  const auto& metadata = file->metadata();
  const auto format = metadata.find("format");
  if (format == metadata.end() || format->second != kFormat || !metadata.count("step"))
    refuse("is not a training state");
  const auto number = [&](const char* key, int64_t min, int64_t max) {
    int64_t value = min - 1;
    const std::string& text = metadata.at(key);
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data(), end, value).ptr != end || value < min || value > max)
      refuse(std::string("has a damaged number: ") + key);
    return value;
  };
  const int64_t steps = number("step", 0, UINT32_MAX);
  const auto alpha = metadata.find("alpha");
  if (denoiser_->lora() && (alpha == metadata.end() || alpha->second != std::to_string(denoiser_->lora()->alpha)))
    refuse("has low-rank updates of another alpha");
  auto scale = scale_;
  if (scale && metadata.count("loss_scale") && metadata.count("good_steps")) {
    scale = LossScale{std::ldexp(1.0, static_cast<int>(number("loss_scale", -1000, 1000))),
                      number("good_steps", 0, LossScale::kGrowAfter - 1)};
  }
  const Named tensors = state();
  for (const auto& [name, tensor] : tensors) {
    const auto found = file->tensors().find(name);
    if (found == file->tensors().end()) refuse("lacks the tensor " + name);
    if (tensor.sizes() != at::IntArrayRef(found->second.shape) || found->second.dtype != at::kFloat)
      refuse("has another shape or dtype for " + name);
  }
  if (file->tensors().size() != tensors.size()) refuse("has tensors that this model does not have");
  const c10::InferenceMode differentiable(false);
  const at::NoGradGuard no_graph;
  for (const auto& [name, tensor] : tensors) tensor.copy_(file->tensor(name));
  drop_gradients();
  optimizer_.set_steps(steps);
  scale_ = scale;
}

void Trainer::export_weights(const std::string& path, bool average, at::ScalarType dtype) const {
  Named tensors;
  const auto& named = denoiser_->parameters();
  const auto& values = average ? averages() : parameters_;
  const auto& lora = denoiser_->lora();
  for (size_t i = 0; i < named.size(); ++i) {
    const auto& name = named[i].first;
    // Without a word on alpha readers take alpha = rank.
    const bool up = lora && name.ends_with(lora_up_name(""));
    const at::Tensor value = up ? values[i].detach() * (lora->alpha / static_cast<double>(lora->rank)) : values[i];
    tensors.emplace_back(lora ? denoiser_->part() + "." + name : name, stored(value, dtype));
  }
  write_safetensors(path, tensors, {{"format", "pt"}});
}

at::Tensor Trainer::tensor(Which which, const std::string& name) const {
  const auto& named = denoiser_->parameters();
  const auto found = std::find_if(named.begin(), named.end(), [&](const auto& one) { return one.first == name; });
  if (found == named.end()) throw Error(code::kInvalidArgument, "The model has no tensor \"" + name + "\".");
  const auto i = static_cast<size_t>(found - named.begin());
  if (which == Which::kGradients && scale_ && parameters_[i].grad().defined())
    return stored(parameters_[i].grad()) * (1 / scale_->value);
  const at::Tensor tensor = which == Which::kWeights    ? parameters_[i]
                            : which == Which::kAverages ? averages()[i]
                                                        : parameters_[i].grad();
  return tensor.defined() ? stored(tensor).clone() : at::Tensor();
}

}  // namespace diffmine
