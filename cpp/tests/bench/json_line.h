// One JSON object on one line, printed at once, so that an interrupted run keeps the lines before.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

#include "weights/json.h"

namespace diffmine::bench {

class JsonLine {
 public:
  JsonLine& text(std::string_view name, std::string_view value) { return raw(name, json_string(value)); }

  template <class Number>
  JsonLine& add(std::string_view name, Number value) {
    static_assert(std::is_arithmetic_v<Number>);
    if constexpr (std::is_same_v<Number, bool>) return raw(name, value ? "true" : "false");
    if constexpr (std::is_integral_v<Number>) return raw(name, std::to_string(value));
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.9g", static_cast<double>(value));
    return raw(name, std::isfinite(static_cast<double>(value)) ? digits : "null");
  }

  // `json` is JSON already.
  JsonLine& raw(std::string_view name, std::string_view json) {
    members_.append(members_.empty() ? "" : ",").append(json_string(name)).append(":").append(json);
    return *this;
  }

  std::string str() const { return "{" + members_ + "}"; }

  void print() const {
    std::printf("%s\n", str().c_str());
    std::fflush(stdout);
  }

 private:
  std::string members_;
};

}  // namespace diffmine::bench
