// That the emulator computes as CUDA does, and fails where a kernel breaks its rules; and what launchers refuse before
// any kernel runs.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/add.h"
#include "kernels/group_norm.h"
#include "kernels/launch.cuh"
#include "kernels/layer_norm.h"
#include "kernels/select.h"
#include "kernels/vector.cuh"
#include "tests/support.h"

using namespace diffmine;

namespace {

// What a launch of the kernel is blamed for.
template <class... Parameters, class... Args>
std::string blame(void (*kernel)(Parameters...), Grid grid, Args... args) {
  const Error error = test::error_of([&] { launch("tried", kernel, grid, nullptr, args...); });
  return error.what();
}
bool says(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

__global__ void number(int* out) {
  out[blockIdx.y * gridDim.x * blockDim.x + blockIdx.x * blockDim.x + threadIdx.x] += 1 + static_cast<int>(threadIdx.x);
}

__global__ void shuffles(int* out, unsigned* votes) {
  const int own = static_cast<int>(threadIdx.x);
  int* to = out + 4 * own;
  to[0] = __shfl_xor_sync(~0u, own, 5);
  to[1] = __shfl_xor_sync(~0u, own, 9, 8);  // beyond its segment of 8: its own
  to[2] = __shfl_down_sync(~0u, own, 3);
  to[3] = __shfl_sync(~0u, own, 2, 16);
  votes[own] = __ballot_sync(~0u, own % 3 == 0);
}

// Each thread gives what its neighbor has put down.
__global__ void neighbors(int* out, bool wait) {
  auto* shared = dynamic_shared<int>();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (wait) __syncthreads();
  out[threadIdx.x] = shared[(threadIdx.x + 32) % blockDim.x];
}

__global__ void returns_early(int* out, unsigned from) {
  if (threadIdx.x >= from) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void diverges(unsigned from) {
  if (threadIdx.x >= from) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void leaves_lanes_out(unsigned mask, unsigned from, bool waits) {
  if (threadIdx.x >= from) {
    if (waits) __syncthreads();
    return;
  }
  __shfl_xor_sync(mask, 1.0f, 1);
}

__global__ void poisoned(float* out) {
  __shared__ float fixed;
  out[0] = fixed, out[1] = *dynamic_shared<float>();
  fixed = 1, *dynamic_shared<float>() = 1;
}

__global__ void __launch_bounds__(64) bounded() {}
__global__ void unbounded() {}
__global__ void overruns() { dynamic_shared<int>()[4] = 1; }

}  // namespace

TEST_CASE("emulation: what an earlier kernel broke is not blamed on the launch that notices it; a refused launch is") {
  const auto tried = [](Grid grid) { return test::error_of([&] { launch("innocent", unbounded, grid, nullptr); }); };
  emulation::break_context(cudaErrorIllegalAddress);
  const Error noticed = tried({dim3(1), 32, 0});
  const Error again = tried({dim3(1), 2048, 0});  // would be refused, if anything still were
  emulation::break_context(cudaSuccess);
  CHECK(noticed.code() == code::kInternal);
  CHECK(says(noticed.what(), "A CUDA kernel failed earlier: an illegal memory access was encountered"));
  CHECK(says(noticed.hint(), "Restart the process"));
  CHECK(says(again.what(), "failed earlier"));
  const Error refused = tried({dim3(1), 2048, 0});
  CHECK(says(refused.what(), "The CUDA kernel innocent could not be launched: a block has 1 to 1024 threads"));
  CHECK(says(refused.hint(), "DIFFMINE_CUDA_ARCHITECTURES"));
  CHECK(test::error_code([] { launch("innocent", unbounded, {dim3(1), 32, 0}, nullptr); }).empty());
}

TEST_CASE("emulation: every thread of every block, once") {
  std::vector<int> out(2 * 3 * 40);
  launch("number", number, {dim3(3, 2), 40}, nullptr, out.data());
  for (size_t i = 0; i < out.size(); ++i) CHECK(out[i] == 1 + static_cast<int>(i % 40));
}

TEST_CASE("emulation: shuffles and votes") {
  std::vector<int> out(4 * 32);
  std::vector<unsigned> votes(32);
  launch("shuffles", shuffles, {1, 32}, nullptr, out.data(), votes.data());
  for (int i = 0; i < 32; ++i) {
    CHECK(out[4 * i] == (i ^ 5));
    CHECK(out[4 * i + 1] == ((i ^ 9) < i / 8 * 8 + 8 ? (i ^ 9) : i));
    CHECK(out[4 * i + 2] == (i + 3 < 32 ? i + 3 : i));
    CHECK(out[4 * i + 3] == i / 16 * 16 + 2);
    CHECK(votes[i] == 0x49249249u);
  }
}

TEST_CASE("emulation: a barrier holds all, and without one some order shows it") {
  std::vector<int> out(256);
  const auto right = [&](bool wait) {
    launch("neighbors", neighbors, {1, 256, 256 * sizeof(int)}, nullptr, out.data(), wait);
    bool all = true;
    for (int i = 0; i < 256; ++i) all = all && out[i] == (i + 32) % 256;
    return all;
  };
  CHECK(right(true));
  CHECK_FALSE(right(false));  // in a ring of warps one is always before its neighbor
}

TEST_CASE("emulation: a barrier waits for none that has returned, and is not two") {
  std::vector<int> out(64);
  CHECK(blame(returns_early, {1, 64}, out.data(), 40) == "no error");
  CHECK(out[39] == 1);
  CHECK(says(blame(diverges, {1, 64}, 1), "__syncthreads"));
  CHECK(says(blame(diverges, {1, 64}, 32), "__syncthreads"));
  CHECK(blame(diverges, {1, 64}, 64) == "no error");
}

TEST_CASE("emulation: lanes of a mask that take no part") {
  CHECK(says(blame(leaves_lanes_out, {1, 32}, ~0u, 16, false), "takes no part"));
  CHECK(says(blame(leaves_lanes_out, {1, 16}, ~0u, 32, false), "takes no part"));  // a warp that is not whole
  CHECK(says(blame(leaves_lanes_out, {1, 32}, ~0u, 16, true), "waits"));
  CHECK(says(blame(leaves_lanes_out, {1, 32}, 0x0fffu, 16, false), "leaves out"));
  CHECK(blame(leaves_lanes_out, {1, 32}, 0xffffu, 16, false) == "no error");
  CHECK(blame(leaves_lanes_out, {1, 64}, ~0u, 64, false) == "no error");
}

TEST_CASE("emulation: shared memory is of one block, begins as NaN and ends where it ends") {
  float out[2] = {0, 0};
  launch("poisoned", poisoned, {5, 1, sizeof(float)}, nullptr, static_cast<float*>(out));
  CHECK(out[0] != out[0]);
  CHECK(out[1] != out[1]);
#if !defined(__SANITIZE_ADDRESS__)  // which ends the process there
  CHECK(says(blame(overruns, {1, 1, 4 * sizeof(int)}), "beyond its shared memory"));
#endif
  CHECK(blame(overruns, {1, 1, 5 * sizeof(int)}) == "no error");
}

TEST_CASE("emulation: launches that no card takes") {
  CHECK(says(blame(unbounded, {1, 1056}), "1024"));
  CHECK(says(blame(unbounded, {1, 0}), "1024"));
  CHECK(says(blame(unbounded, {0, 32}), "grid"));
  CHECK(says(blame(unbounded, {dim3(1, 65536), 32}), "grid"));
  CHECK(says(blame(unbounded, {1, 32, 48 << 10}), "48 KB"));  // beside what is static
  CHECK(blame(unbounded, {1, 1024, 40 << 10}) == "no error");
#if defined(__x86_64__)
  CHECK(says(blame(bounded, {1, 96}), "launch bounds"));
#endif
  CHECK(blame(bounded, {1, 64}) == "no error");
}

TEST_CASE("emulation: halves round to the nearest, ties to even") {
  const auto half = [](float x) {
    __half to;
    from_float(x, to);
    return to_float(to);
  };
  const auto bfloat = [](float x) {
    __nv_bfloat16 to;
    from_float(x, to);
    return to_float(to);
  };
  CHECK(half(1 + 0x1p-11f) == 1.0f);
  CHECK(half(1 + 0x1.8p-10f) == 1 + 0x1p-9f);
  CHECK(half(65520.0f) == INFINITY);
  CHECK(half(0x1p-24f) == 0x1p-24f);
  CHECK(bfloat(1 + 0x1p-8f) == 1.0f);
  CHECK(bfloat(1 + 0x1.8p-7f) == 1 + 0x1p-6f);
  CHECK(std::isnan(half(NAN)));
  CHECK(std::isnan(bfloat(NAN)));
}

TEST_CASE("emulation: launchers refuse what a grid or shared memory has no room for") {
  const auto refused = [](auto f) { return says(test::error_of(f).what(), "no room"); };
  const int64_t huge = int64_t{1} << 40;
  CHECK(refused([&] { launch_add(nullptr, nullptr, nullptr, {1, huge, 4, 1, 1, Dtype::kFloat32}, nullptr); }));
  CHECK(refused([&] {
    launch_layer_norm(nullptr, nullptr, Dtype::kFloat32, nullptr, nullptr, nullptr, huge, 4, 1e-5, nullptr);
  }));
  CHECK(refused([&] {
    launch_layer_norm(nullptr, nullptr, Dtype::kFloat16, nullptr, nullptr, nullptr, huge, 7, 1e-5, nullptr);
  }));
  CHECK(refused([&] {
    launch_group_norm(nullptr, {}, nullptr, {1, 4, 8192, 32, 8192, 1, 1, 1e-5, false, Dtype::kFloat32}, nullptr);
  }));
  CHECK(refused([&] { launch_select_patches(nullptr, 1, 100, 100, 1, 6100, false, nullptr, nullptr); }));
  CHECK(refused([&] { launch_select_patches(nullptr, 1, 1 << 16, 1 << 15, 1, 5, false, nullptr, nullptr); }));
}
