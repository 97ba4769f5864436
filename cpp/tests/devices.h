// The devices that a test of kernels and of typicality runs on: the CPU, and a GPU where the build and the machine have
// one.
#pragma once
#include <c10/core/Device.h>

#include <vector>

namespace diffmine::test {

// With DIFFMINE_REQUIRE_GPU in the environment (scripts/gpu-check.sh) the running test fails where there is none.
std::vector<at::Device> devices();

}  // namespace diffmine::test
