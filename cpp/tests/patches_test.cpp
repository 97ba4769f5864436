// Patch scores against upsampling and pooling done one after the other, and selection against the reference's boxes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "support.h"
#include "typicality/patches.h"
#include "weights/safetensors.h"

using namespace diffmine;

namespace {

// The greedy rule written down as it is defined: try every place against every box chosen so far.
std::vector<std::pair<int64_t, int64_t>> select_by_definition(const at::Tensor& scores, int64_t patch, int64_t count,
                                                              bool ascending) {
  std::vector<std::pair<int64_t, int64_t>> chosen;
  while (static_cast<int64_t>(chosen.size()) < count) {
    double best = -std::numeric_limits<double>::infinity();
    std::pair<int64_t, int64_t> at{-1, -1};
    for (int64_t r = 0; r < scores.size(0); ++r) {
      for (int64_t c = 0; c < scores.size(1); ++c) {
        const bool overlaps = std::any_of(chosen.begin(), chosen.end(), [&](auto& box) {
          return r <= box.first + patch && r + patch >= box.first && c <= box.second + patch && c + patch >= box.second;
        });
        const double value = (ascending ? -1 : 1) * scores[r][c].item<double>();
        if (!overlaps && value > best) best = value, at = {r, c};
      }
    }
    if (at.first < 0) break;
    chosen.push_back(at);
  }
  return chosen;
}

void check_boxes(const std::vector<Pick>& picks, const at::Tensor& boxes, int64_t patch) {
  REQUIRE(static_cast<int64_t>(picks.size()) == boxes.size(0));
  for (size_t i = 0; i < picks.size(); ++i) {
    const int64_t* box = boxes.const_data_ptr<int64_t>() + 4 * i;  // row, column, row_end, column_end
    CHECK(picks[i].row == box[0]);
    CHECK(picks[i].column == box[1]);
    CHECK(picks[i].row + patch == box[2]);
    CHECK(picks[i].column + patch == box[3]);
  }
}

}  // namespace

TEST_CASE("two small matrix products are bilinear upsampling and averaging, exactly") {
  struct Case {
    int64_t h, w, height, width, patch;
  };
  for (const Case& c : {Case{9, 13, 72, 104, 25}, Case{6, 5, 50, 41, 9}, Case{8, 11, 66, 90, 8}, Case{1, 3, 7, 11, 7},
                        Case{32, 48, 32, 48, 10}, Case{5, 7, 5, 7, 1}, Case{64, 64, 512, 512, 64}}) {
    CAPTURE(c.height);
    const auto maps = at::randn({2, 3, c.h, c.w}, at::kDouble);
    const auto up = at::upsample_bilinear2d(maps, {c.height, c.width}, /*align_corners=*/false);
    const auto want = at::avg_pool2d(up, {c.patch, c.patch}, {1, 1});
    const auto got = patch_scores(maps.to(at::kFloat), patch_operator(c.h, c.height, c.patch),
                                  patch_operator(c.w, c.width, c.patch));
    CHECK(test::close(got, want, 2e-6, 2e-6));
  }
}

TEST_CASE("every row of the patch operator averages: not negative, summing to one") {
  const auto a = patch_operator(11, 90, 13).to(at::kDouble);
  CHECK(a.min().item<double>() >= 0);
  CHECK(test::close(a.sum(1), at::full({78}, 1.0, at::kDouble), 1e-6, 0));
}

TEST_CASE("a patch larger than the image is refused") {
  CHECK(test::error_code([] { patch_operator(8, 64, 65); }) == code::kInvalidArgument);
  CHECK(test::error_code([] { patch_operator(8, 64, 0); }) == code::kInvalidArgument);
  CHECK(patch_operator(8, 64, 64).size(0) == 1);
}

TEST_CASE("the reference's scores and boxes") {
  const auto golden = SafetensorsFile::open(test::golden("common-golden/golden.safetensors"));
  struct Case {
    const char* id;
    int64_t height, width, patch;
  };
  for (const Case& c : {Case{"select_0", 64, 64, 16}, Case{"select_1", 72, 104, 25}, Case{"select_2", 50, 41, 9},
                        Case{"select_3", 64, 64, 30}}) {
    CAPTURE(c.id);
    const auto tensor = [&](const char* name) { return golden->tensor(std::string(c.id) + name); };
    const auto loss = tensor(".in.losses").mean(2);  // [N, 2 (label, null), h, w]
    const auto map = (loss.select(1, 1) - loss.select(1, 0)).mean(0);
    const auto scores = patch_scores(map, patch_operator(map.size(0), c.height, c.patch),
                                     patch_operator(map.size(1), c.width, c.patch));
    CHECK(test::close(scores, tensor(".out.scores"), 1e-6, 2e-4));
    const auto top = select_patches(scores, c.patch, 5);
    check_boxes(top, tensor(".out.top5"), c.patch);
    const auto reference = tensor(".out.top5_score");
    for (size_t i = 0; i < top.size(); ++i)
      CHECK(top[i].score == doctest::Approx(reference[i].item<float>()).epsilon(2e-4));
    check_boxes(select_patches(scores, c.patch, 5, /*ascending=*/true), tensor(".out.bottom5"), c.patch);
  }
}

TEST_CASE("selection is the greedy rule, ties and full maps included") {
  for (int round = 0; round < 6; ++round) {
    CAPTURE(round);
    // Few distinct values, so that ties are everywhere.
    const auto scores = round % 2 ? (at::rand({17, 23}) * 4).floor() : at::randn({17, 23});
    for (const bool ascending : {false, true}) {
      const auto got = select_patches(scores, 5, 9, ascending);
      const auto want = select_by_definition(scores, 5, 9, ascending);
      REQUIRE(got.size() == want.size());
      for (size_t i = 0; i < got.size(); ++i) CHECK(std::pair(got[i].row, got[i].column) == want[i]);
    }
  }
}

TEST_CASE("boxes that touch are rejected, boxes one pixel apart are not") {
  auto scores = at::zeros({1, 12});
  scores[0][0] = 3, scores[0][4] = 2, scores[0][5] = 1;
  const auto picks = select_patches(scores, 4, 2);
  REQUIRE(picks.size() == 2);
  CHECK(picks[0].column == 0);
  CHECK(picks[1].column == 5);
}

TEST_CASE("fewer patches than asked where no room is left, none where all is NaN, the first of a constant map") {
  const auto constant = select_patches(at::zeros({6, 6}), 8, 5);
  REQUIRE(constant.size() == 1);
  CHECK(constant[0].row == 0);
  CHECK(constant[0].column == 0);
  CHECK(select_patches(at::full({4, 4}, std::numeric_limits<float>::quiet_NaN()), 1, 3).empty());
  CHECK(select_patches(at::full({4, 4}, -std::numeric_limits<float>::infinity()), 9, 3).size() == 1);
  CHECK(select_patches(at::zeros({4, 4}), 1, 0).empty());
  CHECK(test::error_code([] { select_patches(at::zeros({2, 4, 4}), 1, 1); }) == code::kInvalidArgument);
}

TEST_CASE("random patches are fixed by seed and key, do not overlap, and fall everywhere") {
  const auto scores = at::arange(40 * 30).reshape({40, 30}).to(at::kFloat);
  const auto once = select_random(scores, 6, 5, 42, 7), again = select_random(scores, 6, 5, 42, 7);
  REQUIRE(once.size() == 5);
  for (size_t i = 0; i < once.size(); ++i) {
    CHECK(once[i].row == again[i].row);
    CHECK(once[i].column == again[i].column);
    CHECK(once[i].score == static_cast<float>(once[i].row * 30 + once[i].column));
    for (size_t j = 0; j < i; ++j)
      CHECK((std::abs(once[i].row - once[j].row) > 6 || std::abs(once[i].column - once[j].column) > 6));
  }
  // Keys and seeds, their upper halves too, change the draw; over many keys the first place covers the map evenly.
  CHECK(random_places(40, 30, 6, 1, 42, 7) != random_places(40, 30, 6, 1, 42, 8));
  CHECK(random_places(40, 30, 6, 1, 42, 7) != random_places(40, 30, 6, 1, 43, 7));
  CHECK(random_places(40, 30, 6, 1, 42, 7) != random_places(40, 30, 6, 1, 42, 7 + (uint64_t{1} << 40)));
  std::set<int64_t> seen;
  double sum = 0;
  for (uint64_t key = 0; key < 2000; ++key) {
    const auto place = random_places(10, 10, 2, 1, 1, key)[0];
    seen.insert(place), sum += place;
  }
  CHECK(seen.size() == 100);
  CHECK(sum / 2000 == doctest::Approx(49.5).epsilon(0.06));  // sigma of the mean is 0.65
}
