// Attention alone: LibTorch's backends, and what the models ask for.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <map>
#include <tuple>

#include "bench/bench.h"
#include "core/backends.h"
#include "core/device_options.h"
#include "models/attention.h"

namespace diffmine::bench {
namespace {

struct Backend {
  const char* name;
  bool flash, efficient, cudnn;
};
constexpr Backend kBackends[] = {
    {"flash", true, false, false}, {"efficient", false, true, false}, {"cudnn", false, false, true}};

void choose(bool flash, bool efficient, bool cudnn, bool math) {
  auto& context = at::globalContext();
  context.setSDPUseFlash(flash), context.setSDPUseMemEfficient(efficient), context.setSDPUseCuDNN(cudnn),
      context.setSDPUseMath(math);
}

void measure_attention(const Options& o, const std::string& dtype_name, int64_t batch, int64_t queries, int64_t keys,
                       int64_t size) {
  constexpr int64_t kHeads = 8;
  const auto dtype = parse_dtype(dtype_name, o.device);
  // As the UNet has them: [B, tokens, heads, size] seen as [B, heads, tokens, size].
  const auto drawn = [&](int64_t tokens) {
    return split_heads(
        at::randn({batch, tokens, kHeads * size}, at::TensorOptions(at::kFloat).device(o.device)).to(dtype), kHeads);
  };
  const auto q = drawn(queries), k = drawn(keys), v = drawn(keys);
  // One head in float64.
  const auto first = [](const at::Tensor& x) { return x.slice(0, 0, 1).slice(1, 0, 1).to(at::kDouble); };
  const auto scores = at::matmul(first(q), first(k).transpose(-1, -2)) / std::sqrt(static_cast<double>(size));
  const auto exact = at::matmul(at::softmax(scores, -1), first(v));
  const double flops =
      4.0 * static_cast<double>(batch * kHeads) * static_cast<double>(queries) * static_cast<double>(keys * size);

  probe_cudnn_attention(o.device, dtype);  // turns cuDNN's off where it fails, as for a model
  const bool cudnn = at::globalContext().userEnabledCuDNNSDP();
  at::Tensor out;
  std::map<std::string, std::function<void()>> ways;
  ways["ours"] = [&] {
    choose(true, true, cudnn, true);
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
  choose(true, true, cudnn, true);
  for (const auto& entry : ways) {
    const auto& name = entry.first;
    auto line = line_of(o, "attention")
                    .text("backend", name)
                    .text("dtype", dtype_name)
                    .add("batch", batch)
                    .add("heads", kHeads)
                    .add("queries", queries)
                    .add("keys", keys)
                    .add("size", size);
    const auto& taken = seconds[name];
    if (failed.count(name)) line.text("failed", failed[name]);
    else
      line.raw("seconds", taken.json())
          .add("flops_per_second", flops / taken.median())
          .add("largest_error", errors[name]);
    line.print();
  }
}

}  // namespace

bool bench_attention(const Options& o) {
  bool complete = true;
  const int64_t batch = o.batches.front();
  for (const auto& dtype : o.dtypes) {
    for (const auto& [queries, keys, size] :
         {std::tuple(4096, 4096, 40), std::tuple(1024, 1024, 80), std::tuple(4096, 77, 40)}) {
      const auto described =
          line_of(o, "attention").text("dtype", dtype).add("queries", queries).add("keys", keys).add("size", size);
      complete &= attempt(described, [&, queries = queries, keys = keys, size = size] {
        measure_attention(o, dtype, batch, queries, keys, size);
      });
    }
  }
  return complete;
}

}  // namespace diffmine::bench
