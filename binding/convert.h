// JavaScript values <-> the core's: arguments checked with messages that name the parameter, what was expected and
// what came; tensors; images; errors.
#pragma once
#include <ATen/core/Tensor.h>
#include <napi.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace diffmine::binding {

inline constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;
inline constexpr int kAnyRank = -1;

// A value and what to call it in a message ("options.samples"). Every getter throws INVALID_ARGUMENT for the wrong
// kind.
class Arg {
 public:
  Arg(Napi::Value value, std::string name) : value_(value), name_(std::move(name)) {}

  const Napi::Value& value() const { return value_; }
  const std::string& name() const { return name_; }
  bool present() const { return !value_.IsUndefined() && !value_.IsNull(); }
  [[noreturn]] void fail(const std::string& expected) const;

  Arg operator[](const char* field) const;  // the value must be an object
  std::vector<Arg> items() const;           // the elements of an array

  int64_t integer(int64_t min = -kMaxSafeInteger, int64_t max = kMaxSafeInteger) const;
  uint64_t uint64() const;  // a bigint, or a safe integer
  double number() const;    // finite
  bool boolean(bool absent) const;
  std::string string() const;
  Napi::Function function() const;
  template <class T>
  T choice(std::initializer_list<std::pair<const char*, T>> choices) const {
    const std::string text = value_.IsString() ? string() : std::string();
    std::string expected;
    for (const auto& [word, meaning] : choices) {
      if (text == word) return meaning;
      expected += (expected.empty() ? "'" : " or '") + std::string(word) + "'";
    }
    fail(expected);
  }

  std::vector<int64_t> integers(int64_t min = -kMaxSafeInteger, int64_t max = kMaxSafeInteger) const;
  std::vector<double> numbers() const;  // finite
  std::vector<std::string> strings() const;
  // Bytes are copied when requested, and nothing of JS runs between looking at them and the copy: JS may
  // transfer, shrink or overwrite its memory at any later moment, and a reference to it would not hinder it.
  at::Tensor tensor() const;
  at::Tensor tensor(at::ScalarType dtype, int rank = kAnyRank) const;
  // At least one image, all of the same size, as sharp decoded them -> [B, height, width, 3] uint8.
  at::Tensor images() const;

 private:
  Napi::Value value_;
  std::string name_;
};

// Contiguous, on the CPU, and nobody else's memory, so that JS may own it: a copy unless the tensor is moved in and
// alone.
at::Tensor own(at::Tensor tensor);
// {dtype, shape, data} over the tensor's own memory (see `own`), without a copy where the runtime allows.
Napi::Object to_js(Napi::Env env, const at::Tensor& owned);
Napi::Array to_js(Napi::Env env, const std::vector<int64_t>& numbers);
Napi::Array to_js(Napi::Env env, const std::vector<double>& numbers);

const char* dtype_name(at::ScalarType dtype);

// What a JS error will say.
struct Failure {
  std::string code, message, hint;
};
// The exception being handled (call it inside catch). No C++ backtrace, no stack of LibTorch's.
Failure current_failure() noexcept;
Napi::Error to_js_error(Napi::Env env, const Failure& failure);

}  // namespace diffmine::binding
