// Noise and timesteps for scoring, by position (core/philox.h).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/philox.h"
#include "diffusion/schedule.h"

namespace diffmine {

// Standard normal noise [n, C, H, W] fp32 on `device` for samples first_sample ... first_sample + n - 1; i runs over
// [C, H, W].
at::Tensor draw_noise(uint64_t seed, int64_t first_sample, int64_t n, at::IntArrayRef chw, Stream stream,
                      const at::Device& device);

enum class Sampler {
  kStratified,  // t_i = t0 + floor((t1 - t0) * frac(u + i * 0.618...)): every prefix is stratified
  kReference,   // the paper's independent uniform draws
};

// N timesteps in [t0, t1), the same for every image. Pure functions of (seed, i).
std::vector<int64_t> draw_timesteps(Sampler sampler, uint64_t seed, int64_t samples, int64_t t0, int64_t t1);

// The stratified sequence for a given u in [0, 1).
std::vector<int64_t> stratified_timesteps(double u, int64_t samples, int64_t t0, int64_t t1);

// Samples first ... first + samples - 1 of the stratified sequence over a mixture: a fraction `wide` of them uniform in
// [0, all), the others in [t0, t1). The sequence goes through the mixture's inverse distribution function, so that
// every prefix is stratified over both.
std::vector<int64_t> mixed_timesteps(uint64_t seed, int64_t first, int64_t samples, int64_t t0, int64_t t1, double wide,
                                     int64_t all);

}  // namespace diffmine
