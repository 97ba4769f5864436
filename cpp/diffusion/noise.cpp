// Noise by position, drawn by kernels/noise.* on the device, and the timesteps of the samples.
#include "diffusion/noise.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/noise.h"

#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace diffmine {
namespace {

constexpr double kGoldenRatio = 0.6180339887498949;  // its fractional part, (sqrt(5) - 1) / 2

// The first number of the block, as the center of one of 2^24 parts of (0, 1).
double uniform(uint64_t seed, uint32_t sample) {
  return (static_cast<double>(philox_block(seed, sample, Stream::kTimesteps, 0).x >> 8) + 0.5) * 0x1p-24;
}

// Number i of the additive sequence that begins at u.
double stratified(double u, int64_t i) {
  const double x = u + static_cast<double>(i) * kGoldenRatio;
  return x - std::floor(x);
}

int64_t timestep(double u, int64_t t0, int64_t t1) {
  return std::min(t0 + static_cast<int64_t>(std::floor(static_cast<double>(t1 - t0) * u)), t1 - 1);
}

void check_range(int64_t samples, int64_t t0, int64_t t1) {
  if (samples < 0 || samples > UINT32_MAX || t0 < 0 || t1 <= t0) {
    throw Error(code::kInvalidArgument,
                "Cannot draw " + std::to_string(samples) + " timesteps of [" + std::to_string(t0) + ", " +
                    std::to_string(t1) + ").",
                "The first timestep must be at least 0 and below the last.");
  }
}

}  // namespace

at::Tensor draw_noise(uint64_t seed, int64_t first_sample, int64_t n, at::IntArrayRef chw, Stream stream,
                      const at::Device& device) {
  int64_t per_sample = 1, total = n;
  bool good =
      n >= 0 && first_sample >= 0 && first_sample <= (int64_t{1} << 32) && n <= (int64_t{1} << 32) - first_sample;
  for (const int64_t size : chw) {
    good = good && size >= 0 && !__builtin_mul_overflow(per_sample, size, &per_sample) &&
           !__builtin_mul_overflow(total, size, &total);
  }
  if (!good || total > INT64_MAX / 8) {
    throw Error(code::kInvalidArgument,
                "Numbers of noise samples must be from 0 to 2^32 - 1, and sizes must not be negative.");
  }
  std::vector<int64_t> shape{n};
  shape.insert(shape.end(), chw.begin(), chw.end());
  at::Tensor out = at::empty(shape, at::TensorOptions().dtype(at::kFloat).device(device));
  if (out.numel() == 0) return out;
  if (device.is_cpu()) {
    philox_normal_cpu(out.mutable_data_ptr<float>(), first_sample, n, per_sample, seed, static_cast<uint32_t>(stream));
    return out;
  }
#ifdef DIFFMINE_CUDA
  const c10::cuda::CUDAGuard guard(out.device());
  launch_philox_normal(out.mutable_data_ptr<float>(), first_sample, n, per_sample, seed, static_cast<uint32_t>(stream),
                       c10::cuda::getCurrentCUDAStream().stream());
  return out;
#else
  throw Error(code::kDeviceUnavailable, "This build cannot draw noise on " + device.str() + ".",
              "Use --device cpu, or build with CUDA: diffmine setup --cuda.");
#endif
}

std::vector<int64_t> stratified_timesteps(double u, int64_t samples, int64_t t0, int64_t t1) {
  check_range(samples, t0, t1);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < samples; ++i) {
    out.push_back(timestep(stratified(u, i), t0, t1));
  }
  return out;
}

std::vector<int64_t> draw_timesteps(Sampler sampler, uint64_t seed, int64_t samples, int64_t t0, int64_t t1) {
  if (sampler == Sampler::kStratified) return stratified_timesteps(uniform(seed, 0), samples, t0, t1);
  check_range(samples, t0, t1);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < samples; ++i) out.push_back(timestep(uniform(seed, static_cast<uint32_t>(i)), t0, t1));
  return out;
}

std::vector<int64_t> mixed_timesteps(uint64_t seed, int64_t first, int64_t samples, int64_t t0, int64_t t1, double wide,
                                     int64_t all) {
  check_range(first + samples, t0, t1);
  const double share = wide / static_cast<double>(all);  // the wide part's density
  const double below = share * static_cast<double>(t0),
               above = share * static_cast<double>(all - t1);  // probability before t0 and from t1 on
  const double u = uniform(seed, 0);
  std::vector<int64_t> out;
  for (int64_t i = first; i < first + samples; ++i) {
    const double q = stratified(u, i);
    if (q < below) {
      out.push_back(timestep(q / below, 0, t0));
    } else if (q < 1 - above) {
      out.push_back(timestep((q - below) / (1 - above - below), t0, t1));
    } else {
      out.push_back(timestep((q - (1 - above)) / above, t1, all));
    }
  }
  return out;
}

}  // namespace diffmine
