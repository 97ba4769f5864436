#include "models/dit_layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>

#include <cmath>

#include "core/error.h"

namespace diffmine {
namespace {

constexpr int64_t kSinusoids = 256;
constexpr double kLongestPeriod = 10000;

// [M] places -> [M, channels] fp64: sines, then cosines.
at::Tensor sinusoids_of(const at::Tensor& places, int64_t channels) {
  const auto fp64 = places.options().dtype(at::kDouble);
  const auto power = at::arange(channels / 2, fp64) / (static_cast<double>(channels) / 2);
  const auto angle = at::outer(places.to(at::kDouble), 1.0 / at::pow(kLongestPeriod, power));
  return at::cat(std::vector<at::Tensor>{at::sin(angle), at::cos(angle)}, 1);
}

}  // namespace

TimestepEmbedder TimestepEmbedder::load(Loader& exact, const std::string& name, int64_t channels, double freq_shift) {
  TimestepEmbedder embedder;
  embedder.first_ = Linear::load(exact, name + ".linear_1", kSinusoids, channels);
  embedder.second_ = Linear::load(exact, name + ".linear_2", channels, channels);
  embedder.freq_shift_ = freq_shift;
  return embedder;
}

// The frequencies' exponents are multiplied and divided in diffusers' order: at timestep 1000 the last bit counts.
at::Tensor TimestepEmbedder::operator()(const at::Tensor& t) const {
  const int64_t half = kSinusoids / 2;
  const auto options = t.options().dtype(at::kFloat);
  const auto exponent =
      at::arange(half, options) * -std::log(kLongestPeriod) / (static_cast<double>(half) - freq_shift_);
  const auto angle = t.to(at::kFloat).unsqueeze(1) * at::exp(exponent).unsqueeze(0);
  return second_(at::silu(first_(at::cat(std::vector<at::Tensor>{at::cos(angle), at::sin(angle)}, 1))));
}

at::Tensor modulate(const at::Tensor& y, const at::Tensor& scale, const at::Tensor& shift) {
  return at::addcmul(shift.unsqueeze(1), y, (scale + 1).unsqueeze(1));
}

at::Tensor modulated_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps) {
  return modulate(at::layer_norm(x, {x.size(-1)}, {}, {}, eps), scale, shift);
}

at::Tensor add_gated(const at::Tensor& h, const at::Tensor& gate, const at::Tensor& y) {
  return at::addcmul(h, gate.unsqueeze(1), y);
}

RmsNorm RmsNorm::load(Loader& loader, const std::string& name, int64_t size, double eps) {
  RmsNorm norm;
  norm.weight_ = loader.take(name + ".weight", {size}, at::kFloat);
  norm.eps_ = eps;
  return norm;
}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const {
  const auto exact = x.to(at::kFloat);
  const auto variance = exact.square().mean(-1, /*keepdim=*/true);
  return (exact * at::rsqrt(variance + eps_) * weight_).to(x.scalar_type());
}

TransformerFeedForward TransformerFeedForward::load(Loader& loader, const std::string& name, int64_t channels,
                                                    const std::string& activation) {
  TransformerFeedForward ff;
  ff.gated_ = activation == "geglu";
  ff.tanh_ = activation == "gelu-approximate";
  if (!ff.gated_ && !ff.tanh_ && activation != "gelu") {
    throw Error(code::kModelUnsupported, "The transformer's activation_fn \"" + activation + "\" is not supported.",
                "Supported: gelu-approximate, gelu, geglu.");
  }
  ff.fused_ = !loader.differentiable() && loader.options().geglu;
  ff.in_ = Linear::load(loader, name + ".net.0.proj", channels, (ff.gated_ ? 8 : 4) * channels);
  ff.out_ = Linear::load(loader, name + ".net.2", 4 * channels, channels);
  return ff;
}

at::Tensor TransformerFeedForward::operator()(const at::Tensor& x) const {
  const auto h = in_(x);
  if (!gated_) return out_(at::gelu(h, tanh_ ? "tanh" : "none"));
  if (fused_) return out_(ops::geglu(h));
  const auto parts = h.chunk(2, -1);
  return out_(parts[0] * at::gelu(parts[1]));
}

at::Tensor patch_positions(int64_t channels, int64_t height, int64_t width, int64_t base, const at::Device& device) {
  const auto places = [&](int64_t count) {
    const auto fp32 = at::TensorOptions().dtype(at::kFloat).device(device);
    return at::arange(count, fp32) / (static_cast<double>(count) / static_cast<double>(base));
  };
  const auto columns = sinusoids_of(places(width), channels / 2).unsqueeze(0).expand({height, -1, -1});
  const auto rows = sinusoids_of(places(height), channels / 2).unsqueeze(1).expand({-1, width, -1});
  return at::cat(std::vector<at::Tensor>{columns, rows}, 2).flatten(0, 1).to(at::kFloat);
}

at::Tensor unpatchify(const at::Tensor& tokens, int64_t height, int64_t width, int64_t patch) {
  const int64_t channels = tokens.size(-1) / (patch * patch);
  return tokens.reshape({-1, height, width, patch, patch, channels})
      .permute({0, 5, 1, 3, 2, 4})
      .reshape({-1, channels, height * patch, width * patch});
}

void check_pass(const Denoiser& denoiser, const std::string& name, const at::Tensor& x, const at::Tensor& t,
                const Conditions& conditions, const at::Tensor& condition_index, int64_t fan_out) {
  const auto refuse = [](const std::string& what) { throw Error(code::kInvalidArgument, what); };
  const auto number = [](int64_t n) { return std::to_string(n); };
  if (x.dim() != 4 || x.size(1) != denoiser.channels())
    refuse("The " + name + " takes x [P, " + number(denoiser.channels()) + ", H, W].");
  if (t.dim() != 1 || t.size(0) != x.size(0)) refuse("The " + name + " takes one timestep for each input.");
  if (condition_index.numel() != x.size(0) * fan_out)
    refuse("The " + name + " takes fan_out condition indices for each input.");
  // On a GPU the index is trusted: looking at it would make every pass wait for the one before.
  if (condition_index.is_cpu() && condition_index.numel() &&
      (condition_index.min().item<int64_t>() < 0 || condition_index.max().item<int64_t>() >= conditions.rows)) {
    refuse("A condition index is outside 0 ... " + number(conditions.rows - 1) + ".");
  }
  const int64_t multiple = denoiser.size_multiple();
  if (x.size(2) % multiple || x.size(3) % multiple) {
    refuse("This model takes sizes that are multiples of " + number(multiple) + ", not " + number(x.size(2)) + " x " +
           number(x.size(3)) + ".");
  }
}

}  // namespace diffmine
