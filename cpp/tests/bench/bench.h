// What the parts of diffmine_bench share: options, times, lines of results.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bench/json_line.h"
#include "core/device.h"

namespace diffmine::bench {

struct Options {
  at::Device device = at::kCPU;
  DeviceInfo info;
  std::string model = "sd15";
  std::vector<std::string> dtypes{"fp16", "bf16"}, tune{"off", "on"};
  std::vector<int64_t> latents{64, 32}, batches{64, 128};
  int64_t repeats = 5;
  double seconds = 0.1;  // of each of the machine's rates, per round
  bool unet = false, attention = false, profile = false;

  // dtype and cuDNN benchmark mode of each engine to measure
  std::vector<std::pair<std::string, bool>> engines() const {
    std::vector<std::pair<std::string, bool>> all;
    for (const auto& dtype : dtypes) {
      for (const auto& on : tune) all.emplace_back(dtype, on == "on");
    }
    return all;
  }
};

// Times of rounds; their median, least and largest as JSON.
struct Spread {
  std::vector<double> values;
  double median() const;
  std::string json() const;
};

// Seconds of `work` until the device has done it.
double timed(const at::Device& device, const std::function<void()>& work);

// A line begins with what was measured, where.
JsonLine line_of(const Options& o, const char* what);

// A result that cannot be had is a line, too, and the others are measured. Returns whether it was had.
bool attempt(const JsonLine& described, const std::function<void()>& work);

// Print a line for each result; return whether all could be measured.
bool bench_unet(const Options& o);
bool bench_attention(const Options& o);

}  // namespace diffmine::bench
