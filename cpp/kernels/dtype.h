// The dtypes that layers compute in.
#pragma once
#include <cstdint>

namespace diffmine {

enum class Dtype { kFloat32, kFloat16, kBFloat16 };

constexpr int64_t dtype_bytes(Dtype dtype) { return dtype == Dtype::kFloat32 ? 4 : 2; }

}  // namespace diffmine
