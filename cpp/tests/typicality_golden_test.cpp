// Typicality against the reference's numbers on two tiny models.
#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <doctest/doctest.h>

#include <cmath>

#include "devices.h"
#include "support.h"
#include "typicality_support.h"

using namespace diffmine;
using namespace diffmine::testing;

namespace {

struct Golden {
  const char* id;
  int64_t height, width, patch;
};

// One "typicality" case as the reference computed it, and what diffmine makes of it.
struct GoldenRun {
  std::shared_ptr<SafetensorsFile> file;
  std::string id;
  at::Tensor latents, losses;  // losses: the reference's, the mean over channels
  TypicalityResult got;
  at::Tensor tensor(const std::string& name) const { return file->tensor(id + name); }
};

GoldenRun run_golden(const Model& model, const std::string& variant, const std::string& condition_tensor,
                     const Golden& c) {
  GoldenRun run{SafetensorsFile::open(golden_path(variant + "-golden/golden.safetensors")), c.id, {}, {}, {}};
  const auto conditions = model.denoiser->prepare(run.file->tensor(condition_tensor));
  auto in = labels_against_null(1, c.height, c.width);
  in.latents = run.latents =
      model.encode_images(run.tensor(".in.image_u8").permute({1, 2, 0}).unsqueeze(0).contiguous());
  in.noises = run.tensor(".in.noises"), in.timesteps = run.tensor(".in.t");
  auto options = small(8, 10);
  options.patch = c.patch;
  run.got = score_typicality(model, conditions, in, options);
  run.losses = run.tensor(".out.losses");
  if (run.losses.dim() == 5) run.losses = run.losses.mean(2);
  return run;
}

// Latents, losses, maps, scores and boxes of three labels against null.
void check_golden(const Model& model, const std::string& variant, const std::string& condition_tensor,
                  const Golden& c) {
  CAPTURE(c.id);
  const auto run = run_golden(model, variant, condition_tensor, c);
  const auto tensor = [&](const std::string& name) { return run.tensor(name); };
  CHECK(excess(run.latents.cpu(), tensor(".out.latent"), 1e-5, 1e-4) <= 1);
  CHECK(excess(run.got.losses[0], run.losses, 5e-5, 1e-3) <= 1);
  for (int64_t m = 0; m < 3; ++m) {
    CAPTURE(m);
    const auto& out = run.got.outputs[0][m];
    const auto suffix = "_" + std::to_string(m);
    // A cell of the map is not an average over a patch: fp32 rounding of the two losses, up to 2e-5 of them in the
    // reference itself, shows in it.
    CHECK(excess(out.map, tensor(".out.T_map")[m], 5e-6, 2e-4) <= 1);
    CHECK(excess(out.scores, tensor(".out.scores" + suffix), 1e-6, 2e-4) <= 1);
    const auto boxes = tensor(".out.top5" + suffix), scores = tensor(".out.top5_score" + suffix);
    REQUIRE(static_cast<int64_t>(out.top.size()) == boxes.size(0));
    for (size_t i = 0; i < out.top.size(); ++i) {
      CHECK(out.top[i].row == boxes[i][0].item<int64_t>());
      CHECK(out.top[i].column == boxes[i][1].item<int64_t>());
      const double want = scores[i].item<double>();
      CHECK(std::abs(out.top[i].score - want) <= 1e-6 + 2e-4 * std::abs(want));
    }
  }
}

double relative_l2(const at::Tensor& got, const at::Tensor& want) {
  const auto g = got.to(at::kDouble), w = want.to(at::kDouble);
  return ((g - w).norm() / w.norm()).item<double>();
}

// In reduced precision losses and maps are judged by their relative L2 error, as `diffmine verify` judges them.
void check_reduced(const Model& model, const std::string& variant, const std::string& condition_tensor, const Golden& c,
                   double bound) {
  CAPTURE(c.id);
  const auto run = run_golden(model, variant, condition_tensor, c);
  std::vector<at::Tensor> maps;
  for (const auto& output : run.got.outputs[0]) maps.push_back(output.map);
  const double losses = relative_l2(run.got.losses[0], run.losses),
               map = relative_l2(at::stack(maps), run.tensor(".out.T_map"));
  MESSAGE(std::string(c10::toString(model.denoiser->dtype()))
          << " on " << model.denoiser->device().str() << ", " << run.id << ": relative L2 error of losses " << losses
          << ", of maps " << map);
  CHECK(losses <= bound);
  CHECK(map <= bound);
}

}  // namespace

TEST_CASE("typicality of a folded pixel model equals the reference") {
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    const auto model = tiny_fold(device);
    check_golden(model, "tiny-fold", "cond.out.labels", {"typicality_0_32x32", 32, 32, 8});
    check_golden(model, "tiny-fold", "cond.out.labels", {"typicality_1_32x48", 32, 48, 10});
  }
}

TEST_CASE("typicality of a latent text model equals the reference") {
  for (const auto& device : test::devices()) {
    CAPTURE(device.str());
    const auto model = tiny_sd15(device);
    check_golden(model, "tiny-sd15", "cond.out.last_hidden_state", {"typicality_0_64x64", 64, 64, 16});
    check_golden(model, "tiny-sd15", "cond.out.last_hidden_state", {"typicality_1_64x96", 64, 96, 20});
  }
}

TEST_CASE("typicality in reduced precision is near the reference") {
  for (const auto& device : test::devices()) {
    for (const auto dtype : {at::kHalf, at::kBFloat16}) {
      if (device.is_cpu() && dtype == at::kHalf) continue;
      const double bound = 2.5 * (dtype == at::kHalf ? 5e-3 : 3e-2);
      const auto folded = tiny_fold(device, dtype), latent = tiny_sd15(device, dtype);
      check_reduced(folded, "tiny-fold", "cond.out.labels", {"typicality_0_32x32", 32, 32, 8}, bound);
      check_reduced(folded, "tiny-fold", "cond.out.labels", {"typicality_1_32x48", 32, 48, 10}, bound);
      check_reduced(latent, "tiny-sd15", "cond.out.last_hidden_state", {"typicality_0_64x64", 64, 64, 16}, bound);
      check_reduced(latent, "tiny-sd15", "cond.out.last_hidden_state", {"typicality_1_64x96", 64, 96, 20}, bound);
    }
  }
}
