// Stages and their seconds, the queue of a device, uploads, and what the machine can do.
#include "core/stage.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <thread>

#include "core/error.h"
#include "core/machine.h"
#include "core/queue.h"
#include "models/denoiser_graph.h"
#include "tests/devices.h"
#include "tests/support.h"

using namespace diffmine;
using namespace diffmine::test;

namespace {

void work() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

}  // namespace

TEST_CASE("stages are timed where somebody asks: on this thread, the outermost of nested ones, added up by name") {
  { const Stage stage("unet"); }  // nobody asks
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    StageTimes times(device);
    CHECK(times.seconds().empty());
    for (int i = 0; i < 2; ++i) {
      const Stage stage("unet");
      const Stage inner("noise");
      work();
    }
    CHECK(times.seconds().size() == 1);
    CHECK(times.seconds().at("unet") >= 0.004);
    std::thread([] {
      const Stage stage("score");
      work();
    }).join();
    CHECK(times.seconds().count("score") == 0);
    {
      StageTimes own(device);
      {
        const Stage stage("select");
        work();
      }
      CHECK(own.seconds().at("select") >= 0.002);
    }
    CHECK(times.seconds().count("select") == 0);
    { const Stage stage("score"); }
    CHECK(times.seconds().count("score") == 1);
  }
}

TEST_CASE("a stage ends with what is thrown in it") {
  const StageTimes times(at::kCPU);
  try {
    const Stage stage("unet");
    throw Error(code::kCancelled, "");
  } catch (const Error&) {}
  { const Stage stage("score"); }
  CHECK(times.seconds().count("unet") == 1);
  CHECK(times.seconds().count("score") == 1);
}

TEST_CASE("a queue lets pass what a device has done; uploads are equal") {
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    DeviceQueue queue(device, 2);
    const auto numbers = at::arange(1000).reshape({10, 100}).t();  // not contiguous
    at::Tensor there;
    for (int i = 0; i < 5; ++i) {
      queue.wait_for_room();
      there = upload(numbers, device);
      queue.mark();
    }
    CHECK(there.device().type() == device.type());
    CHECK(at::equal(there.cpu(), numbers));
  }
}

TEST_CASE("the machine's rates are those of work that was done") {
  for (const auto& device : devices()) {
    CAPTURE(device.str());
    const auto rates = machine_rates(device, at::kFloat, 0);
    CHECK(rates.matmul > 1e8);
    CHECK(rates.copy > 1e8);
  }
  CancelToken token;
  token.cancel();
  CHECK(error_code([&] { machine_rates(at::kCPU, at::kFloat, 0, {&token, nullptr}); }) == code::kCancelled);
}

TEST_CASE("graphs are for passes whose launches are seen") {
  constexpr int64_t kStableDiffusion = 859'520'964, kSmall = 20'000'000;
  CHECK(DenoiserGraphs::pays(2, 64, 64, kStableDiffusion));
  CHECK(DenoiserGraphs::pays(32, 32, 32, kStableDiffusion));
  CHECK_FALSE(DenoiserGraphs::pays(64, 64, 64, kStableDiffusion));
  CHECK(DenoiserGraphs::pays(512, 32, 32, kSmall));
}
