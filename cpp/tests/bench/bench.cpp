// diffmine_bench: how fast the UNet is on a device, without Node and without a model file. One line of JSON per result,
// printed at once.
//
//   diffmine_bench [unet] [attention] [--device cuda] [--model sd15|tiny] [--dtype fp16,bf16] [--latents 64,32]
//                  [--batch 64,128] [--tune off,on] [--repeats 5] [--seconds 0.1] [--threads N] [--profile]
//
//   unet        UNet calls per second of each cell (dtype x latents x batch x cuDNN benchmark mode), with the
//               device's own rates in the same rounds; with --profile also where the time goes, by kernel
//   attention   self-attention of 4096 tokens with heads of 40 and smaller cases, by each of LibTorch's backends and
//               by the one that the models use
#include "bench/bench.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <sstream>
#include <thread>

#include "core/backends.h"
#include "core/device_options.h"
#include "core/error.h"
#include "core/stage.h"
#include "core/version.h"

namespace diffmine::bench {

double Spread::median() const {
  auto sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const size_t n = sorted.size();
  return n == 0 ? std::nan("") : (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

std::string Spread::json() const {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const auto value = [&](const auto& at) { return values.empty() ? std::nan("") : *at; };
  return JsonLine().add("median", median()).add("min", value(low)).add("max", value(high)).str();
}

double timed(const at::Device& device, const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  synchronize(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

JsonLine line_of(const Options& o, const char* what) {
  return JsonLine()
      .text("bench", what)
      .text("device", o.info.id)
      .text("name", o.info.name)
      .text("libtorch", libtorch_version());
}

bool attempt(const JsonLine& described, const std::function<void()>& work) {
  std::string what;
  try {
    work();
    return true;
  } catch (const c10::Error& error) {
    what = error.what_without_backtrace();
  } catch (const std::exception& error) {
    what = error.what();
  }
  JsonLine(described).text("failed", what.substr(0, what.find('\n'))).print();
  return false;
}

namespace {

std::vector<std::string> list(const std::string& text) {
  std::vector<std::string> items;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) items.push_back(item);
  return items;
}

int64_t whole(const std::string& text) {
  size_t end = 0;
  int64_t value = 0;
  try {
    value = std::stoll(text, &end);
  } catch (const std::exception&) {}
  if (end != text.size() || value < 1)
    throw Error(code::kInvalidArgument, "'" + text + "' is not a whole number above 0.");
  return value;
}

std::vector<int64_t> whole_numbers(const std::string& text) {
  std::vector<int64_t> values;
  for (const auto& item : list(text)) values.push_back(whole(item));
  return values;
}

Options parse(int argc, char** argv) {
  Options o;
  std::string device = list_devices().size() > 1 ? "cuda" : "cpu";
  int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "unet" || name == "attention" || name == "--profile") {
      (name == "unet" ? o.unet : name == "attention" ? o.attention : o.profile) = true;
      continue;
    }
    if (i + 1 == argc) throw Error(code::kInvalidArgument, "'" + name + "' is not an option, or has no value.");
    const std::string value = argv[++i];
    if (name == "--device") device = value;
    else if (name == "--model") o.model = value;
    else if (name == "--dtype") o.dtypes = list(value);
    else if (name == "--latents") o.latents = whole_numbers(value);
    else if (name == "--batch") o.batches = whole_numbers(value);
    else if (name == "--tune") o.tune = list(value);
    else if (name == "--repeats") o.repeats = whole(value);
    else if (name == "--seconds") o.seconds = std::stod(value);
    else if (name == "--threads") threads = whole(value);
    else throw Error(code::kInvalidArgument, "There is no option '" + name + "'.");
  }
  o.device = parse_device(device);
  const auto devices = list_devices();
  o.info = devices[o.device.is_cuda() ? static_cast<size_t>(o.device.index()) + 1 : 0];
  if (!o.unet && !o.attention) o.unet = true;
  at::set_num_threads(static_cast<int>(threads));
  return o;
}

}  // namespace
}  // namespace diffmine::bench

int main(int argc, char** argv) {
  using namespace diffmine::bench;
  try {
    const Options options = parse(argc, argv);
    const c10::InferenceMode inference;
    diffmine::set_up_backends(options.device);
    bool complete = true;
    if (options.unet) complete &= bench_unet(options);
    if (options.attention) complete &= bench_attention(options);
    return complete ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 2;
  }
}
