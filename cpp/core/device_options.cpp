#include "core/device_options.h"

#include <charconv>

#include "core/backends.h"
#include "core/device.h"
#include "core/error.h"

namespace diffmine {

at::Device parse_device(const std::string& text) {
  if (text == "cpu") return at::Device(at::kCPU);
  int index = 0;
  bool good = text == "cuda";
  if (text.rfind("cuda:", 0) == 0) {
    const char *first = text.data() + 5, *last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, index);
    good = error == std::errc() && end == last && index >= 0;
  }
  if (!good)
    throw Error(code::kInvalidArgument, "\"" + text + "\" is not a device.",
                "Devices are cpu, cuda, cuda:1 and so on.");
  const int count = cuda_device_count();
  if (index < count) return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
#ifdef DIFFMINE_CUDA
  throw Error(code::kDeviceUnavailable,
              "There is no device " + text + ": " +
                  (count == 0 ? "no CUDA device or driver was found" : std::to_string(count) + " found") + ".",
              count == 0 ? "Use --device cpu, or check `nvidia-smi`."
                         : "Devices are cuda:0 to cuda:" + std::to_string(count - 1) + ".");
#else
  throw Error(code::kDeviceUnavailable, "There is no device " + text + ": this build supports only the CPU.",
              "Use --device cpu, or build with CUDA: diffmine setup --cuda.");
#endif
}

at::ScalarType parse_dtype(const std::string& text, const at::Device& device) {
  if (text == "fp32") return at::kFloat;
  if (text == "bf16") return at::kBFloat16;
  if (text != "fp16")
    throw Error(code::kInvalidArgument, "\"" + text + "\" is not a dtype.", "Dtypes are fp32, bf16 and fp16.");
  if (device.is_cpu() && !cpu_computes_fp16()) {
    throw Error(code::kDeviceUnavailable,
                "fp16 is not supported on this CPU: oneDNN has no fp16 for it, and convolutions without oneDNN take "
                "hundreds of times as long as in fp32.",
                "Use bf16 or fp32. fp16 needs a GPU, or a CPU with AVX512-FP16, AMX-FP16 or AVX-NE-CONVERT.");
  }
  return at::kHalf;
}

}  // namespace diffmine
