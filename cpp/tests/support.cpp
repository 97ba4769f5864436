// The seed of the tests, and the comparison by which golden numbers are judged.
#include "tests/support.h"

#include <cmath>
#include <cstdlib>

namespace diffmine::test {

uint64_t seed() {
  const char* number = std::getenv("DIFFMINE_TEST_SEED");
  return number ? std::strtoull(number, nullptr, 10) : 0;
}

bool nightly() { return std::getenv("DIFFMINE_TEST_ALL") != nullptr; }

bool close(const at::Tensor& got, const at::Tensor& want, double atol, double rtol) {
  if (got.sizes() != want.sizes()) return false;
  const at::Tensor a = got.to(at::kCPU, at::kDouble).contiguous(), b = want.to(at::kCPU, at::kDouble).contiguous();
  const double *x = a.const_data_ptr<double>(), *y = b.const_data_ptr<double>();
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (!(std::abs(x[i] - y[i]) <= atol + rtol * std::abs(y[i]))) return false;
  }
  return true;
}

}  // namespace diffmine::test
