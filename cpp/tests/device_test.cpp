// Devices, precisions, and memory under cgroup limits (laid out in a temporary folder).
#include "core/device.h"
#include "core/backends.h"
#include "core/device_memory.h"
#include "core/device_options.h"
#include "core/version.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/memory.h"
#include "tests/support.h"

using namespace diffmine;
using namespace diffmine::test;

TEST_CASE("list_devices: the CPU comes first, with a name, memory and capability") {
  const auto devices = list_devices();
  REQUIRE(!devices.empty());
  const DeviceInfo& cpu = devices[0];
  CHECK(cpu.id == "cpu");
  CHECK(!cpu.name.empty());
  CHECK(cpu.memory_total > (int64_t{1} << 28));
  CHECK(cpu.memory_free > 0);
  CHECK(cpu.memory_free <= cpu.memory_total);
  CHECK(!cpu.cpu_capability.empty());
  CHECK(cpu.compute_capability.empty());
}

TEST_CASE("parse_device and parse_dtype: what is there, and errors with hints for the rest") {
  const at::Device cpu = parse_device("cpu");
  CHECK(cpu.is_cpu());
  for (const char* text : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "CPU"}) {
    CAPTURE(text);
    CHECK(error_code([&] { parse_device(text); }) == code::kInvalidArgument);
  }
  CHECK(error_code([&] { parse_device("cuda:99"); }) == code::kDeviceUnavailable);
  if (list_devices().size() == 1) CHECK(error_code([&] { parse_device("cuda"); }) == code::kDeviceUnavailable);

  CHECK((parse_dtype("fp32", cpu) == at::kFloat));  // in parentheses: doctest would print it with c10::toString
  CHECK((parse_dtype("bf16", cpu) == at::kBFloat16));
  CHECK((parse_dtype("fp16", at::Device(at::kCUDA, 0)) == at::kHalf));
  CHECK(error_code([&] { parse_dtype("fp8", cpu); }) == code::kInvalidArgument);
  if (cpu_computes_fp16()) {
    CHECK((parse_dtype("fp16", cpu) == at::kHalf));
  } else {
    const Error half = error_of([&] { parse_dtype("fp16", cpu); });
    CHECK(half.code() == code::kDeviceUnavailable);
    CHECK(std::string(half.what()).find("oneDNN") != std::string::npos);
    CHECK(half.hint().find("bf16") != std::string::npos);
  }
  const auto dtypes = list_devices().front().dtypes;
  CHECK(std::find(dtypes.begin(), dtypes.end(), "bf16") != dtypes.end());
  CHECK((std::find(dtypes.begin(), dtypes.end(), "fp16") != dtypes.end()) == cpu_computes_fp16());
  const auto native = list_devices().front().native_dtypes;
  CHECK(native.front() == "fp32");
  CHECK((std::find(native.begin(), native.end(), "bf16") != native.end()) == cpu_computes_bf16());
  for (const auto& name : native) CHECK(std::find(dtypes.begin(), dtypes.end(), name) != dtypes.end());
}

TEST_CASE("libtorch_version: compiled and loaded agree") {
  CHECK(libtorch_version().find('.') != std::string::npos);
  CHECK(libtorch_version() == libtorch_loaded_version());
}

TEST_CASE("peak_memory: grows with what is touched") {
  const int64_t before = peak_memory(at::Device(at::kCPU));
  CHECK(before > 0);
  const std::vector<char> block(size_t{64} << 20, 1);
  CHECK(peak_memory(at::Device(at::kCPU)) >= before);
  CHECK(peak_memory(at::Device(at::kCPU)) >= static_cast<int64_t>(block.size()));
}

namespace {
void put(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}
constexpr int64_t kGiB = int64_t{1} << 30;
}  // namespace

TEST_CASE("host_memory: cgroup limits on every level, versions 1 and 2") {
  const TemporaryFolder folder;
  const std::string root = folder.path();
  put(root + "/proc/meminfo", "MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:   33554432 kB\n");
  CHECK(host_memory(root).total == 64 * kGiB);
  CHECK(host_memory(root).available == 32 * kGiB);

  SUBCASE("version 2, the limit on the parent; page cache counts as free") {
    put(root + "/proc/self/cgroup", "0::/jobs/one\n");
    put(root + "/sys/fs/cgroup/jobs/one/memory.max", "max\n");
    put(root + "/sys/fs/cgroup/jobs/memory.max", std::to_string(8 * kGiB) + "\n");
    put(root + "/sys/fs/cgroup/jobs/memory.current", std::to_string(5 * kGiB) + "\n");
    put(root + "/sys/fs/cgroup/jobs/memory.stat", "anon 1\ninactive_file " + std::to_string(kGiB) + "\n");
    CHECK(host_memory(root).total == 8 * kGiB);
    CHECK(host_memory(root).available == 4 * kGiB);
  }
  SUBCASE("version 1") {
    put(root + "/proc/self/cgroup", "5:cpu,memory:/job\n0::/\n");
    put(root + "/sys/fs/cgroup/memory/job/memory.limit_in_bytes", std::to_string(2 * kGiB));
    put(root + "/sys/fs/cgroup/memory/job/memory.usage_in_bytes", std::to_string(3 * kGiB));
    put(root + "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
    CHECK(host_memory(root).total == 2 * kGiB);
    CHECK(host_memory(root).available == 0);
  }
  SUBCASE("seen from inside a container: the path is not there, the mount's root is") {
    put(root + "/proc/self/cgroup", "0::/kubepods/pod1\n");
    put(root + "/sys/fs/cgroup/memory.max", std::to_string(4 * kGiB));
    CHECK(host_memory(root).available == 4 * kGiB);
  }
}
