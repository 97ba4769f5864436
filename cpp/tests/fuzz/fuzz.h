// What the fuzz targets share. scripts/fuzz.mjs builds and runs them; cpp/tests/fuzz/corpus keeps one small input per
// path through the code.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "weights/json.h"

// Unlike assert, in release builds too.
#define FUZZ_CHECK(condition) \
  if (!(condition)) std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), std::abort()

namespace diffmine::fuzz {

inline bool is_utf8(std::string_view text) {
  for (size_t at = 0, n = 0; at < text.size(); at += n) {
    if ((n = utf8_length(text, at)) == 0) return false;
  }
  return true;
}

// Messages reach terminals, logs and JSON whatever the file holds.
inline void check_message(const std::string& message) {
  FUZZ_CHECK(!message.empty() && message.size() < 2000 && is_utf8(message));
  for (const unsigned char c : message) FUZZ_CHECK(c >= 0x20 && c != 0x7F);
}

}  // namespace diffmine::fuzz
