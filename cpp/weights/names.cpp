// The texts of names.h.
#include "weights/names.h"

#include <algorithm>

#include "weights/json.h"

namespace diffmine {

std::string quoted_name(const std::string& name) {
  std::string out;
  for (size_t at = 0; at < name.size();) {
    if (out.size() >= 160) return "'" + out + "...'";
    const size_t n = std::max<size_t>(1, utf8_length(name, at));
    const bool plain = n > 1 || (name[at] >= 0x20 && name[at] < 0x7F);
    out += plain ? name.substr(at, n) : "?";
    at += n;
  }
  return "'" + out + "'";
}

std::string shape_text(c10::IntArrayRef shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

}  // namespace diffmine
