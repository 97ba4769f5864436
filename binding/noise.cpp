// Noise and timesteps by position.
#include "diffusion/noise.h"

#include "calls.h"
#include "sampling.h"

namespace diffmine::binding {

Napi::Value draw_noise(Info info) {
  const uint64_t seed = Arg(info[0], "seed").uint64();
  const int64_t first = Arg(info[1], "firstSample").integer(0, UINT32_MAX),
                count = Arg(info[2], "count").integer(0, UINT32_MAX);
  const auto shape = Arg(info[3], "shape").integers(1);
  const auto stream = static_cast<Stream>(Arg(info[4], "stream").integer(0, static_cast<int64_t>(Stream::kClustering)));
  return to_js(info.Env(), own(diffmine::draw_noise(seed, first, count, shape, stream, at::kCPU)));
}

Napi::Value draw_timesteps(Info info) {
  const Sampler sampler = sampler_argument({info[0], "sampler"});
  const uint64_t seed = Arg(info[1], "seed").uint64();
  const int64_t samples = Arg(info[2], "samples").integer(1, UINT32_MAX);
  const int64_t begin = Arg(info[3], "tBegin").integer(0), end = Arg(info[4], "tEnd").integer(begin + 1);
  return to_js(info.Env(), diffmine::draw_timesteps(sampler, seed, samples, begin, end));
}

}  // namespace diffmine::binding
