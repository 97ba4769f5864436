// What the tests share: a temporary folder, errors as values, golden data.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/error.h"

namespace diffmine::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "diffmine-test-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The Error that f throws; the code is empty where it throws none.
template <class F>
Error error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  return Error("", "no error");
}

template <class F>
std::string error_code(F&& f) {
  return error_of(f).code();
}

inline std::string golden(const std::string& name) { return std::string(DIFFMINE_TEST_DATA) + "/golden/" + name; }

// What at::randn is seeded with where a test case begins: DIFFMINE_TEST_SEED, 0 without it.
uint64_t seed();

// Whether this is the nightly run, which has time (npm run test:all).
bool nightly();

// max(|got - want| - (atol + rtol |want|)) <= 0; false for other shapes or NaN.
bool close(const at::Tensor& got, const at::Tensor& want, double atol, double rtol);

}  // namespace diffmine::test
