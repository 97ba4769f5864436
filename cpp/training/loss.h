// What training minimises: the mean squared error to the schedule's target.
#pragma once
#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"

namespace diffmine {

// Losses [B] of predictions [B, C, H, W] at timesteps t [B]: mean over [C, H, W] of (prediction - target)^2. fp32.
at::Tensor prediction_loss(const at::Tensor& prediction, const at::Tensor& target);

// Min-SNR weights [B] (Hang et al. 2023) with SNR = abar_t / (1 - abar_t): min(SNR, gamma) / SNR for epsilon models,
// min(SNR, gamma) / (SNR + 1) for velocity models. fp32, on t's device.
at::Tensor min_snr_weights(const Schedule& schedule, const at::Tensor& t, double gamma);

}  // namespace diffmine
