// LibTorch's versions.
#pragma once
#include <string>

namespace diffmine {

// The version the core was compiled against, e.g. "2.13.0".
std::string libtorch_version();

// The version it runs with; empty if LibTorch does not say.
std::string libtorch_loaded_version();

}  // namespace diffmine
