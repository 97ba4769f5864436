// CPU implementation of conv_out.cu.
#include "kernels/conv_out.h"

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <vector>

namespace diffmine {
namespace {

constexpr int64_t kOutputs = kConvOutGroup;

// Adds one tap to the sums [width, kOutputs] of a row: `from` [count, C] against weight [C, kOutputs].
template <class T>
void add_tap(float* sums, const T* from, int64_t count, int64_t channels, const float* weight) {
  for (int64_t pixel = 0; pixel < count; ++pixel, from += channels, sums += kOutputs) {
    float parts[2][kOutputs] = {};  // two chains of additions
    const auto add = [&](int64_t c, float(&part)[kOutputs]) {
      const float value = static_cast<float>(from[c]);
      for (int64_t o = 0; o < kOutputs; ++o) part[o] += value * weight[c * kOutputs + o];
    };
    int64_t c = 0;
    for (; c + 2 <= channels; c += 2) add(c, parts[0]), add(c + 1, parts[1]);
    if (c < channels) add(c, parts[0]);
    for (int64_t o = 0; o < kOutputs; ++o) sums[o] += parts[0][o] + parts[1][o];
  }
}

template <class T>
void run(float* out, const T* x, const float* weight, const float* bias, const ConvOutShape& shape) {
  const int64_t height = shape.height, width = shape.width, channels = shape.channels, outputs = shape.outputs;
  const int64_t groups = (outputs + kOutputs - 1) / kOutputs;
  at::parallel_for(0, shape.batch * height * groups, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(width * kOutputs);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / groups, group = i % groups, y = row % height;
      const int64_t wanted = std::min(kOutputs, outputs - group * kOutputs);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int64_t tap = 0; tap < 9; ++tap) {
        const int64_t dy = tap / 3 - 1, dx = tap % 3 - 1, first = std::max<int64_t>(0, -dx),
                      last = std::min(width, width - dx);
        if (y + dy < 0 || y + dy >= height || first >= last) continue;
        add_tap(sums.data() + first * kOutputs, x + ((row + dy) * width + first + dx) * channels, last - first,
                channels, weight + (group * 9 + tap) * channels * kOutputs);
      }
      for (int64_t pixel = 0; pixel < width; ++pixel) {
        float* const to = out + (row * width + pixel) * outputs + group * kOutputs;
        for (int64_t o = 0; o < wanted; ++o) to[o] = sums[pixel * kOutputs + o] + bias[group * kOutputs + o];
      }
    }
  });
}

}  // namespace

void conv_out_cpu(float* out, const void* x, const float* weight, const float* bias, ConvOutShape shape, void*) {
  switch (shape.dtype) {
    case Dtype::kFloat32: return run(out, static_cast<const float*>(x), weight, bias, shape);
    case Dtype::kFloat16: return run(out, static_cast<const c10::Half*>(x), weight, bias, shape);
    case Dtype::kBFloat16: return run(out, static_cast<const c10::BFloat16*>(x), weight, bias, shape);
  }
}

}  // namespace diffmine
