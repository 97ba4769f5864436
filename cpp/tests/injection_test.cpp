// Plug-and-Play injection: rows that take features from another row.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>

#include "core/error.h"
#include "translation/injection.h"

using namespace diffmine;

TEST_CASE("injection hands rows on at its paths alone, and tells which it never met") {
  Injection injection({"a", "b"}, at::tensor({0, 0, 2, 0}, at::kLong));
  const auto x = at::randn({4, 3, 2});
  CHECK_FALSE(injection("elsewhere", x).replacement.has_value());
  const auto seen = injection("a", x).replacement;
  REQUIRE(seen.has_value());
  for (const auto& [row, source] : {std::pair{0, 0}, {1, 0}, {2, 2}, {3, 0}}) CHECK(at::equal((*seen)[row], x[source]));
  REQUIRE(injection.unseen().size() == 1);
  CHECK(*injection.unseen().begin() == "b");
}

TEST_CASE("injection refuses rows that are not there") {
  CHECK_THROWS_AS(Injection({"a"}, at::tensor({0, 2}, at::kLong)), Error);
  CHECK_THROWS_AS(Injection({"a"}, at::tensor({-1, 0}, at::kLong)), Error);
  Injection injection({"a"}, at::arange(3, at::kLong));
  CHECK_THROWS_AS(injection("a", at::randn({2, 1})), Error);
}
