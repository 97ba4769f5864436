// The one exception of the core: a code, a sentence, a hint.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

namespace diffmine {

// Codes are part of the interface (docs/reference/errors.md); src/util/errors.ts has the same list.
namespace code {
inline constexpr const char* kInvalidArgument = "INVALID_ARGUMENT";    // a caller's mistake
inline constexpr const char* kWeightsInvalid = "WEIGHTS_INVALID";      // damaged or malformed safetensors, NaN weights
inline constexpr const char* kModelInvalid = "MODEL_INVALID";          // tensors missing, unknown or misshapen
inline constexpr const char* kModelUnsupported = "MODEL_UNSUPPORTED";  // a config option that is not supported
inline constexpr const char* kDeviceUnavailable = "DEVICE_UNAVAILABLE";  // no such device, or dtype not usable there
inline constexpr const char* kOutOfMemory = "OUT_OF_MEMORY";
inline constexpr const char* kNumerics = "NUMERICS";  // NaN or infinity in results
inline constexpr const char* kCancelled = "CANCELLED";
inline constexpr const char* kIo = "IO";              // files: absent, unreadable, disk full
inline constexpr const char* kInternal = "INTERNAL";  // a bug in diffmine
}  // namespace code

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(std::move(code)), hint_(std::move(hint)) {}
  const std::string& code() const noexcept { return code_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  std::string code_;
  std::string hint_;
};

}  // namespace diffmine
