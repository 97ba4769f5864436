// diffmine_bench: how fast the UNet is on a device, without Node and without a model file. One line of JSON per result, printed at once.
//
//   diffmine_bench [unet] [attention] [--device cuda] [--model sd15|tiny] [--dtype fp16,bf16] [--latents 64,32] [--batch 64,128]
//                  [--tune off,on] [--repeats 5] [--seconds 0.1] [--threads N] [--profile]
//
//   unet        UNet calls per second of each cell (dtype x latents x batch x cuDNN benchmark mode), beside the device's own rates in the same rounds;
//               with --profile also where the time goes, by kernel
//   attention   self-attention of 4096 tokens with heads of 40 and its smaller relatives, by LibTorch's backends and as the models ask for it
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>

#include "bench/json_line.h"
#include "bench/kernel_times.h"
#include "bench/models.h"
#include "core/device.h"
#include "core/engine_options.h"
#include "core/machine.h"
#include "core/stage.h"
#include "diffusion/noise.h"
#include "models/layers.h"
#include "weights/random.h"
#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

using namespace diffmine;
using bench::JsonLine;

namespace {

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
  } catch (const std::exception&) {
  }
  if (end != text.size() || value < 1) throw Error(code::kInvalidArgument, "'" + text + "' is not a whole number above 0.");
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

struct Spread {
  std::vector<double> values;
  double median() const {
    auto sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const size_t n = sorted.size();
    return n == 0 ? std::nan("") : (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
  }
  std::string json() const {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return JsonLine().add("median", median()).add("min", values.empty() ? std::nan("") : *low).add("max", values.empty() ? std::nan("") : *high).str();
  }
};

double timed(const at::Device& device, const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  synchronize(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The peak of memory begins again, so that each cell has its own.
void forget_peak(const at::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    c10::cuda::CUDACachingAllocator::emptyCache();
    if (auto* allocator = c10::cuda::CUDACachingAllocator::get(); allocator->initialized()) allocator->resetPeakStats(device.index());
    return;
  }
#endif
  std::ofstream("/proc/self/clear_refs") << '5';
}

JsonLine line_of(const Options& o, const char* what) {
  return JsonLine().text("bench", what).text("device", o.info.id).text("name", o.info.name).text("libtorch", libtorch_version());
}

// --- the UNet ---

struct Cell {
  std::string dtype;
  int64_t side, batch;
  bool tuned;
};

// UNet calls under two conditions, a label's and the null one, as a scan makes them: batch / 2 inputs.
void measure(const Options& o, const UNet& unet, const Conditions& conditions, const Cell& cell) {
  const int64_t inputs = std::max<int64_t>(1, cell.batch / 2), batch = 2 * inputs;
  const auto x = draw_noise(0, 0, inputs, {unet.config().in_channels, cell.side, cell.side}, Stream::kScan, at::kCPU).to(o.device);
  const auto t = at::full({inputs}, 300, at::kLong).to(o.device), index = (at::arange(batch, at::kLong) % 2).to(o.device);
  const double flops = bench::flops_per_call(unet.config(), cell.side);
  const auto described = [&](const char* what) {
    return line_of(o, what).text("model", o.model).text("dtype", cell.dtype).add("latents", cell.side).add("batch", batch).add("tuned", cell.tuned);
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
  described("unet").add("parameters", unet.weight_count()).add("flops_per_call", flops).raw("seconds", seconds.json()).add("first_seconds", first)
      .add("calls_per_second", static_cast<double>(batch) / seconds.median()).raw("matmul_flops", matmul.json()).raw("copy_bytes", copy.json())
      .raw("matmul_utilization", utilization.json()).add("peak_memory", peak_memory(o.device)).add("threads", at::get_num_threads())
      .add("output_rms", values.square().mean().sqrt().item<double>()).add("output_mean", values.mean().item<double>()).print();
  if (!o.profile) return;
  constexpr int64_t kCalls = 2;
  const auto times = bench::kernel_times(o.device, [&] {
    for (int64_t i = 0; i < kCalls; ++i) call();
    synchronize(o.device);
  });
  constexpr size_t kRows = 40;
  std::string rows;
  double shown = 0;
  std::cerr << "\n" << cell.dtype << ", " << cell.side << " x " << cell.side << ", batch " << batch << (cell.tuned ? ", tuned" : "") << ": " << times.seconds / kCalls << " s per forward pass\n";
  for (size_t i = 0; i < std::min(kRows, times.rows.size()); ++i) {
    const auto& row = times.rows[i];
    const double percent = 100 * row.seconds / times.seconds;
    shown += percent;
    rows += (i ? "," : "") + JsonLine().text("name", row.name).add("seconds", row.seconds / kCalls).add("calls", row.calls / kCalls).add("percent", percent).str();
    char text[64];
    std::snprintf(text, sizeof text, "%5.1f %%  %9.3f ms  %5lld  ", percent, 1e3 * row.seconds / kCalls, static_cast<long long>(row.calls / kCalls));
    std::cerr << text << row.name.substr(0, 110) << "\n";
  }
  described(times.kind.c_str()).add("seconds", times.seconds / kCalls).add("percent_of_rows", shown).raw("rows", "[" + rows + "]").print();
}

// --- attention alone ---

struct Backend {
  const char* name;
  bool flash, efficient, cudnn;
};
constexpr Backend kBackends[] = {{"flash", true, false, false}, {"efficient", false, true, false}, {"cudnn", false, false, true}};

void choose(bool flash, bool efficient, bool cudnn, bool math) {
  auto& context = at::globalContext();
  context.setSDPUseFlash(flash), context.setSDPUseMemEfficient(efficient), context.setSDPUseCuDNN(cudnn), context.setSDPUseMath(math);
}

void measure_attention(const Options& o, const std::string& dtype_name, int64_t batch, int64_t queries, int64_t keys, int64_t size) {
  constexpr int64_t kHeads = 8;
  const auto dtype = parse_dtype(dtype_name, o.device);
  // As the UNet has them: [B, tokens, heads, size] seen as [B, heads, tokens, size].
  const auto drawn = [&](int64_t tokens) { return split_heads(at::randn({batch, tokens, kHeads * size}, at::TensorOptions(at::kFloat).device(o.device)).to(dtype), kHeads); };
  const auto q = drawn(queries), k = drawn(keys), v = drawn(keys);
  const auto first = [](const at::Tensor& x) { return x.slice(0, 0, 1).slice(1, 0, 1).to(at::kDouble); };  // one head in float64
  const auto exact = at::matmul(at::softmax(at::matmul(first(q), first(k).transpose(-1, -2)) / std::sqrt(static_cast<double>(size)), -1), first(v));
  const double flops = 4.0 * static_cast<double>(batch * kHeads) * static_cast<double>(queries) * static_cast<double>(keys * size);

  at::Tensor out;
  std::map<std::string, std::function<void()>> ways;
  ways["ours"] = [&] {
    choose(true, true, true, true);
    out = attention(q, k, v);
  };
  for (const auto& backend : kBackends) {
    if (!o.device.is_cuda()) break;  // on a CPU LibTorch has one
    ways[backend.name] = [&, backend] {
      choose(backend.flash, backend.efficient, backend.cudnn, false);
      out = at::scaled_dot_product_attention(q, k, v);
    };
  }
  if (o.device.is_cpu()) ways["libtorch"] = [&] { out = at::scaled_dot_product_attention(q, k, v); };
  std::map<std::string, Spread> seconds;
  std::map<std::string, double> errors;
  std::map<std::string, std::string> failed;
  for (int64_t round = -2; round < o.repeats; ++round) {
    for (const auto& [name, work] : ways) {
      if (failed.count(name)) continue;
      try {
        const double taken = timed(o.device, work);
        if (round >= 0) seconds[name].values.push_back(taken);
        else errors[name] = ((first(out) - exact).abs().max() / exact.abs().max()).item<double>();
      } catch (const c10::Error& error) {
        const std::string what = error.what_without_backtrace();
        failed[name] = what.substr(0, what.find('\n'));
      }
    }
  }
  choose(true, true, true, true);
  for (const auto& entry : ways) {
    const auto& name = entry.first;
    auto line = line_of(o, "attention").text("backend", name).text("dtype", dtype_name).add("batch", batch).add("heads", kHeads).add("queries", queries).add("keys", keys).add("size", size);
    if (failed.count(name)) line.text("failed", failed[name]);
    else line.raw("seconds", seconds[name].json()).add("flops_per_second", flops / seconds[name].median()).add("largest_error", errors[name]);
    line.print();
  }
}

// A result that cannot be had is a line, too, and the others are measured. Returns whether it was had.
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

int run(const Options& o) {
  const c10::InferenceMode inference;
  set_up_backends(o.device);
  bool complete = true;
  if (o.unet) {
    for (const auto& [dtype, tuned] : o.engines()) {
      const auto described = line_of(o, "unet").text("model", o.model).text("dtype", dtype).add("tuned", tuned);
      complete &= attempt(described, [&, dtype = dtype, tuned = tuned] {
        WeightStore weights = synthetic_weights(1);
        EngineOptions engine;
        engine.tune = tuned;
        const UNet unet(bench::model_config(o.model), weights, o.device, parse_dtype(dtype, o.device), {}, {.engine = engine});
        const auto conditions = unet.prepare(draw_noise(0, 1000, 2, {bench::kTokens, unet.config().cross_attention_dim}, Stream::kScan, at::kCPU));
        for (const int64_t side : o.latents) {
          for (const int64_t batch : o.batches) {
            complete &= attempt(JsonLine(described).add("latents", side).add("batch", batch), [&] { measure(o, unet, *conditions, {dtype, side, batch, tuned}); });
          }
        }
      });
    }
  }
  if (o.attention) {
    const int64_t batch = o.batches.front();
    for (const auto& dtype : o.dtypes) {
      for (const auto& [queries, keys, size] : {std::tuple(4096, 4096, 40), std::tuple(1024, 1024, 80), std::tuple(4096, 77, 40)}) {
        complete &= attempt(line_of(o, "attention").text("dtype", dtype).add("queries", queries).add("keys", keys).add("size", size), [&, queries = queries, keys = keys, size = size] { measure_attention(o, dtype, batch, queries, keys, size); });
      }
    }
  }
  return complete ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 2;
  }
}
