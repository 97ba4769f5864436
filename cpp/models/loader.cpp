#include "models/loader.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "weights/lora.h"
#include "weights/random.h"

namespace diffmine {

// As it is stored.
at::Tensor Loader::checked(const std::string& name, at::IntArrayRef shape) {
  if (++taken_ % 16 == 0) context_.check_cancelled();
  const at::Tensor stored = weights_.take(name, shape);
  if (!stored.is_floating_point()) {
    throw Error(code::kModelInvalid, "Tensor \"" + name + "\" has dtype " +
                                         std::string(c10::toString(stored.scalar_type())) +
                                         ", not floating-point weights.");
  }
  // A sum is finite only if all parts are (an overflow of the sum itself would need weights near 1e38 / n); float64 for
  // fp64 files.
  const auto sum = stored.sum(stored.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  if (!std::isfinite(sum.item<double>()) && !at::isfinite(stored).all().item<bool>()) {
    throw Error(code::kWeightsInvalid, "Tensor \"" + name + "\" has NaN or infinite weights.",
                "The file is damaged or the training that wrote it diverged.");
  }
  return stored;
}

at::Tensor Loader::take_stored(const std::string& name, at::IntArrayRef shape) {
  const at::Tensor stored = checked(name, shape);
  const auto taken = stored.to(device_, stored.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  bytes_ += static_cast<int64_t>(taken.nbytes());
  count_ += taken.numel();
  return taken;
}

at::Tensor Loader::take(const std::string& name, at::IntArrayRef shape, std::optional<at::ScalarType> dtype) {
  const at::Tensor stored = checked(name, shape);
  const bool leaf = parameters_ && !lora_;
  if (leaf) dtype = at::kFloat;
  at::Tensor taken = stored.to(device_, dtype.value_or(dtype_), /*non_blocking=*/false, /*copy=*/true);
  if (dtype.value_or(dtype_) == at::kHalf && !at::isfinite(taken).all().item<bool>()) {
    throw Error(code::kModelUnsupported, "Tensor \"" + name + "\" has weights beyond fp16's range.",
                "Use --dtype bf16 or fp32.");
  }
  bytes_ += static_cast<int64_t>(taken.nbytes());
  count_ += taken.numel();
  if (leaf) {
    if (taken.dim() == 4) taken = taken.contiguous(at::MemoryFormat::ChannelsLast);
    taken.set_requires_grad(true);
    parameters_->emplace_back(name, taken);
  }
  return taken;
}

std::optional<LoraUpdate> Loader::update(const std::string& name, int64_t in, int64_t out) {
  // Those of a text's tokens in SD3 are called add_*: diffusers' training of SD3 updates them too.
  static constexpr std::array kProjections{".to_q",       ".to_k",       ".to_v",       ".to_out.0",
                                           ".add_q_proj", ".add_k_proj", ".add_v_proj", ".to_add_out"};
  const auto projects = [&](const char* suffix) { return name.ends_with(suffix); };
  if (!lora_ || std::none_of(kProjections.begin(), kProjections.end(), projects)) return {};
  WeightStore initial = initial_weights(lora_->seed);
  const auto leaf = [&](const std::string& path, at::IntArrayRef shape) {
    const auto made = initial.take(path, shape).to(device_, at::kFloat).contiguous().set_requires_grad(true);
    parameters_->emplace_back(path, made);
    return made;
  };
  LoraUpdate update;
  update.down = leaf(lora_down_name(name), {lora_->rank, in});
  update.up = leaf(lora_up_name(name), {out, lora_->rank});
  update.scale = lora_->alpha / static_cast<double>(lora_->rank);
  return update;
}

at::Tensor LoraUpdate::operator()(const at::Tensor& x) const {
  return at::linear(at::linear(x, down.to(x.scalar_type())), (up * scale).to(x.scalar_type()));
}

}  // namespace diffmine
