// How names and shapes out of a file are shown in messages.
#pragma once
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <string>

namespace diffmine {

// In quotes, without control characters, truncated if very long.
std::string quoted_name(const std::string& name);

// "[320, 4, 3, 3]"
std::string shape_text(c10::IntArrayRef shape);

}  // namespace diffmine
