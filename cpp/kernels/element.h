// The numbers that layers compute in.
#pragma once
#include <cstdint>

namespace diffmine {

enum class Element { kFloat32, kFloat16, kBFloat16 };

constexpr int64_t element_bytes(Element element) { return element == Element::kFloat32 ? 4 : 2; }

}  // namespace diffmine
