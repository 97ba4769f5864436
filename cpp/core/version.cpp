#include "core/version.h"

#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#define DIFFMINE_TEXT_(x) #x
#define DIFFMINE_TEXT(x) DIFFMINE_TEXT_(x)

namespace diffmine {

std::string libtorch_version() {
  return DIFFMINE_TEXT(TORCH_VERSION_MAJOR) "." DIFFMINE_TEXT(TORCH_VERSION_MINOR) "." DIFFMINE_TEXT(
      TORCH_VERSION_PATCH);
}

std::string libtorch_loaded_version() {
  static const std::string key = "TORCH_VERSION=";
  const std::string config = at::show_config();
  const size_t begin = config.find(key);
  if (begin == std::string::npos) return {};
  return config.substr(begin + key.size(),
                       config.find_first_not_of("0123456789.", begin + key.size()) - begin - key.size());
}

}  // namespace diffmine
