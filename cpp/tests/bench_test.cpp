// The benchmark program's own parts: counted work, lines of JSON.
#include <doctest/doctest.h>

#include <limits>

#include "bench/json_line.h"
#include "bench/models.h"
#include "support.h"

using namespace diffmine;

TEST_CASE("bench: the work of Stable Diffusion 1.5's UNet") {
  CHECK(bench::flops_per_call(bench::model_config("sd15"), 64) == doctest::Approx(803.3e9).epsilon(1e-4));
  CHECK(bench::flops_per_call(bench::model_config("sd15"), 32) == doctest::Approx(180.1e9).epsilon(1e-3));
  CHECK(test::error_code([] { bench::model_config("sd35"); }) == code::kInvalidArgument);
}

TEST_CASE("bench: lines of JSON") {
  CHECK(bench::JsonLine()
            .text("a\"", "b\n\\")
            .add("n", int64_t{1} << 60)
            .add("x", 0.5)
            .add("yes", true)
            .raw("list", "[1]")
            .str() == R"({"a\"":"b\u000a\\","n":1152921504606846976,"x":0.5,"yes":true,"list":[1]})");
  CHECK(bench::JsonLine()
            .add("x", std::numeric_limits<double>::infinity())
            .add("y", std::numeric_limits<double>::quiet_NaN())
            .str() == R"({"x":null,"y":null})");
}
