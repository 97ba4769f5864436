// UNet calls per second of a model with random weights, beside the device's own rates in the same rounds.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <fstream>
#include <iostream>

#include "bench/bench.h"
#include "bench/kernel_times.h"
#include "bench/models.h"
#include "core/device_memory.h"
#include "core/device_options.h"
#include "core/engine_options.h"
#include "core/machine.h"
#include "core/stage.h"
#include "diffusion/noise.h"
#include "weights/random.h"
#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#endif

namespace diffmine::bench {
namespace {

// The peak of memory begins again, so that each cell has its own.
void forget_peak(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    c10::cuda::CUDACachingAllocator::emptyCache();
    if (auto* allocator = c10::cuda::CUDACachingAllocator::get(); allocator->initialized())
      allocator->resetPeakStats(device.index());
    return;
  }
#endif
  std::ofstream("/proc/self/clear_refs") << '5';
}

struct Cell {
  std::string dtype;
  int64_t side, batch;
  bool tuned;
};

// UNet calls under two conditions, a label's and the null one, as a scan makes them: batch / 2 inputs.
void measure(const Options& o, const UNet& unet, const Conditions& conditions, const Cell& cell) {
  const int64_t inputs = std::max<int64_t>(1, cell.batch / 2), batch = 2 * inputs;
  const auto x =
      draw_noise(0, 0, inputs, {unet.config().in_channels, cell.side, cell.side}, Stream::kScan, at::kCPU).to(o.device);
  const auto t = at::full({inputs}, 300, at::kLong).to(o.device),
             index = (at::arange(batch, at::kLong) % 2).to(o.device);
  const double flops = flops_per_call(unet.config(), cell.side);
  const auto described = [&](const char* what) {
    return line_of(o, what)
        .text("model", o.model)
        .text("dtype", cell.dtype)
        .add("latents", cell.side)
        .add("batch", batch)
        .add("tuned", cell.tuned);
  };
  forget_peak(o.device);
  at::Tensor out;
  const auto call = [&] { out = unet.forward(x, t, conditions, index, 2); };
  Spread seconds, matmul, copy, utilization;
  const double first = timed(o.device, call);
  const int64_t warm_up = o.device.is_cuda() ? 3 : 1;
  for (int64_t round = 0; round < warm_up + o.repeats; ++round) {
    const MachineRates rates = machine_rates(o.device, unet.dtype(), o.seconds);
    const double taken = timed(o.device, call);
    if (round < warm_up) continue;
    seconds.values.push_back(taken), matmul.values.push_back(rates.matmul), copy.values.push_back(rates.copy);
    utilization.values.push_back(static_cast<double>(batch) * flops / taken / rates.matmul);
  }
  // What was computed: the same numbers on every device, to rounding.
  const auto values = out.to(at::kDouble);
  described("unet")
      .add("parameters", unet.weight_count())
      .add("flops_per_call", flops)
      .raw("seconds", seconds.json())
      .add("first_seconds", first)
      .add("calls_per_second", static_cast<double>(batch) / seconds.median())
      .raw("matmul_flops", matmul.json())
      .raw("copy_bytes", copy.json())
      .raw("matmul_utilization", utilization.json())
      .add("peak_memory", peak_memory(o.device))
      .add("threads", at::get_num_threads())
      .add("output_rms", values.square().mean().sqrt().item<double>())
      .add("output_mean", values.mean().item<double>())
      .print();
  if (!o.profile) return;
  constexpr int64_t kCalls = 2;
  const auto times = kernel_times(o.device, [&] {
    for (int64_t i = 0; i < kCalls; ++i) call();
    synchronize(o.device);
  });
  constexpr size_t kRows = 40;
  std::string rows;
  double shown = 0;
  std::cerr << "\n"
            << cell.dtype << ", " << cell.side << " x " << cell.side << ", batch " << batch
            << (cell.tuned ? ", tuned" : "") << ": " << times.seconds / kCalls << " s per forward pass\n";
  for (size_t i = 0; i < std::min(kRows, times.rows.size()); ++i) {
    const auto& row = times.rows[i];
    const double percent = 100 * row.seconds / times.seconds;
    shown += percent;
    const double each = row.seconds / kCalls;
    const int64_t calls = row.calls / kCalls;
    rows += (i ? "," : "") +
            JsonLine().text("name", row.name).add("seconds", each).add("calls", calls).add("percent", percent).str();
    char text[64];
    std::snprintf(text, sizeof text, "%5.1f %%  %9.3f ms  %5lld  ", percent, 1e3 * each, static_cast<long long>(calls));
    std::cerr << text << row.name.substr(0, 110) << "\n";
  }
  described(times.kind.c_str())
      .add("seconds", times.seconds / kCalls)
      .add("percent_of_rows", shown)
      .raw("rows", "[" + rows + "]")
      .print();
}

}  // namespace

bool bench_unet(const Options& o) {
  bool complete = true;
  for (const auto& [dtype, tuned] : o.engines()) {
    const auto described = line_of(o, "unet").text("model", o.model).text("dtype", dtype).add("tuned", tuned);
    complete &= attempt(described, [&, dtype = dtype, tuned = tuned] {
      WeightStore weights = synthetic_weights(1);
      DenoiserOptions options;
      options.engine.tune = tuned;
      const UNet unet(model_config(o.model), weights, o.device, parse_dtype(dtype, o.device), {}, options);
      const auto conditions =
          unet.prepare(draw_noise(0, 1000, 2, {kTokens, unet.config().cross_attention_dim}, Stream::kScan, at::kCPU));
      for (const int64_t side : o.latents) {
        for (const int64_t batch : o.batches) {
          complete &= attempt(JsonLine(described).add("latents", side).add("batch", batch), [&] {
            measure(o, unet, *conditions, {dtype, side, batch, tuned});
          });
        }
      }
    });
  }
  return complete;
}

}  // namespace diffmine::bench
