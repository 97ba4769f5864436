// Typicality of images, patch scores and their selection.
#include "typicality/typicality.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <map>
#include <optional>

#include "calls.h"
#include "core/stage.h"
#include "image_batch.h"
#include "sampling.h"
#include "task.h"
#include "unet.h"

namespace diffmine::binding {

namespace {

TypicalityOptions options_argument(const Arg& arg) {
  TypicalityOptions o;
  o.samples = arg["samples"].integer(1, UINT32_MAX);
  o.seed = arg["seed"].uint64();
  o.t_begin = arg["tBegin"].integer(0);
  o.t_end = arg["tEnd"].integer(0);
  o.sampler = sampler_argument(arg["sampler"]);
  if (const Arg loss = arg["loss"]; loss.present())
    o.loss = loss.choice<Loss>({{"squared", Loss::kSquared}, {"absolute", Loss::kAbsolute}, {"huber", Loss::kHuber}});
  o.patch = arg["patch"].integer(0, INT32_MAX);
  o.per_image = arg["perImage"].integer(0, INT32_MAX);
  o.batch = arg["batch"].integer(1, INT32_MAX);
  o.keep_maps = arg["keepMaps"].boolean(false);
  o.keep_scores = arg["keepScores"].boolean(false);
  o.keep_losses = arg["keepLosses"].boolean(false);
  o.keep_differences = arg["keepDifferences"].boolean(false);
  if (const Arg range = arg["sampleRange"]; range.present()) {
    const auto ends = range.integers(0, o.samples);
    if (ends.size() != 2) range.fail("[begin, end)");
    o.sample_begin = ends[0], o.sample_end = ends[1];
  }
  if (const Arg weights = arg["sampleWeights"]; weights.present())
    for (const Arg& weight : weights.items()) o.sample_weights.push_back(weight.number());
  return o;
}

// [B][n] integers -> [B, n]; all rows of one length.
at::Tensor table_argument(const Arg& arg, int64_t rows, int64_t max, const char* of = "images") {
  const auto items = arg.items();
  if (static_cast<int64_t>(items.size()) != rows)
    arg.fail("one row for each of the " + std::to_string(rows) + " " + of);
  std::vector<int64_t> numbers;
  size_t length = 0;
  for (const Arg& item : items) {
    const auto row = item.integers(0, max);
    if (&item == &items.front()) length = row.size();
    if (row.empty() || row.size() != length) item.fail("a row as long as the first, not empty");
    numbers.insert(numbers.end(), row.begin(), row.end());
  }
  return at::tensor(numbers, at::kLong).view({rows, static_cast<int64_t>(length)});
}

at::Tensor weights_argument(const Arg& arg, int64_t images, int64_t outputs, int64_t conditions) {
  const std::string expected =
      "numbers [" + std::to_string(images) + "][" + std::to_string(outputs) + "][" + std::to_string(conditions) + "]";
  const auto check = [&](const std::vector<Arg>& items, int64_t length) {
    if (static_cast<int64_t>(items.size()) != length) arg.fail(expected);
  };
  std::vector<float> numbers;
  const auto per_image = arg.items();
  check(per_image, images);
  for (const Arg& image : per_image) {
    const auto per_output = image.items();
    check(per_output, outputs);
    for (const Arg& output : per_output) {
      const auto row = output.items();
      check(row, conditions);
      for (const Arg& weight : row) numbers.push_back(static_cast<float>(weight.number()));
    }
  }
  return at::tensor(numbers, at::kFloat).view({images, outputs, conditions});
}

// [B][K] or [B][N][K] rows of the prepared conditions.
at::Tensor conditions_argument(const Arg& arg, int64_t images, int64_t samples, int64_t max) {
  const auto items = arg.items();
  const auto first = items.empty() ? std::vector<Arg>() : items.front().items();
  if (first.empty() || !first.front().value().IsArray()) return table_argument(arg, images, max);
  if (static_cast<int64_t>(items.size()) != images)
    arg.fail("one table for each of the " + std::to_string(images) + " images");
  std::vector<at::Tensor> tables;
  for (const Arg& item : items) {
    tables.push_back(table_argument(item, samples, max, "samples"));
    if (tables.back().sizes() != tables.front().sizes()) item.fail("a table of the first one's shape");
  }
  return at::stack(tables);
}

TypicalityInput input_argument(const Arg& arg, int64_t images, int64_t samples, int64_t rows) {
  TypicalityInput input;
  input.conditions = conditions_argument(arg["conditions"], images, samples, rows - 1);
  const int64_t conditions = input.conditions.size(-1);
  input.subjects = table_argument(arg["subjects"], images, conditions - 1);
  input.weights = weights_argument(arg["weights"], images, input.subjects.size(1), conditions);
  if (arg["earlier"].present()) input.earlier = arg["earlier"].tensor(at::kFloat, 5);
  for (const Arg& key : arg["keys"].items()) input.keys.push_back(key.uint64());
  if (static_cast<int64_t>(input.keys.size()) != images) arg["keys"].fail("one key for each image");
  if (arg["noises"].present()) input.noises = arg["noises"].tensor(at::kFloat);
  if (const Arg timesteps = arg["timesteps"]; timesteps.present()) {
    input.timesteps = timesteps.tensor();
    if (input.timesteps->scalar_type() != at::kFloat) input.timesteps = timesteps.tensor(at::kLong);
  }
  return input;
}

// A Pick or a ScoredPatch.
template <class Patch>
Napi::Object place_to_js(Napi::Env env, const Patch& patch) {
  Napi::Object entry = Napi::Object::New(env);
  entry["row"] = Napi::Number::New(env, static_cast<double>(patch.row));
  entry["column"] = Napi::Number::New(env, static_cast<double>(patch.column));
  entry["score"] = Napi::Number::New(env, patch.score);
  return entry;
}

Napi::Value patches_to_js(Napi::Env env, const std::vector<ScoredPatch>& patches) {
  Napi::Array array = Napi::Array::New(env, patches.size());
  for (size_t i = 0; i < patches.size(); ++i) {
    const ScoredPatch& patch = patches[i];
    Napi::Object entry = place_to_js(env, patch);
    if (std::isnan(patch.standard_error)) entry["standardError"] = env.Null();
    else entry["standardError"] = Napi::Number::New(env, patch.standard_error);
    array.Set(static_cast<uint32_t>(i), entry);
  }
  return array;
}

Napi::Value output_to_js(Napi::Env env, const TypicalityOutput& output) {
  Napi::Object entry = Napi::Object::New(env);
  entry["mean"] = Napi::Number::New(env, output.mean);
  entry["top"] = patches_to_js(env, output.top);
  entry["bottom"] = patches_to_js(env, output.bottom);
  entry["random"] = patches_to_js(env, output.random);
  if (output.map.defined()) entry["map"] = to_js(env, output.map);
  if (output.scores.defined()) entry["scores"] = to_js(env, output.scores);
  if (output.standard_errors.defined()) entry["standardErrors"] = to_js(env, output.standard_errors);
  return entry;
}

Napi::Value result_to_js(Napi::Env env, const TypicalityResult& result,
                         const std::optional<std::map<std::string, double>>& stages) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array images = Napi::Array::New(env, result.outputs.size());
  for (size_t b = 0; b < result.outputs.size(); ++b) {
    Napi::Array outputs = Napi::Array::New(env, result.outputs[b].size());
    for (size_t m = 0; m < result.outputs[b].size(); ++m)
      outputs.Set(static_cast<uint32_t>(m), output_to_js(env, result.outputs[b][m]));
    images.Set(static_cast<uint32_t>(b), outputs);
  }
  object["outputs"] = images;
  object["timesteps"] = to_js(env, result.timesteps);
  if (result.losses.defined()) object["losses"] = to_js(env, result.losses);
  if (result.differences.defined()) object["differences"] = to_js(env, result.differences);
  if (stages) {
    Napi::Object seconds = Napi::Object::New(env);
    for (const auto& [stage, spent] : *stages) seconds[stage] = Napi::Number::New(env, spent);
    object["stages"] = seconds;
  }
  return object;
}

void own_all(TypicalityResult& result) {
  const auto own_one = [](at::Tensor& tensor) {
    if (tensor.defined()) tensor = own(std::move(tensor));
  };
  own_one(result.losses);
  own_one(result.differences);
  for (auto& outputs : result.outputs) {
    for (TypicalityOutput& output : outputs) {
      own_one(output.map);
      own_one(output.scores);
      own_one(output.standard_errors);
    }
  }
}

}  // namespace

Napi::Value score_typicality(Info info) {
  const auto handle = ConditionsHandle::from({info[1], "conditions"}, Engine::from({info[0], "engine"}));
  const Arg arg(info[2], "input");
  const ImageBatch batch = batch_argument(arg);
  const TypicalityOptions options = options_argument({info[3], "options"});
  const TypicalityInput input = input_argument(arg, batch.count, options.samples, handle.rows);
  const bool time_stages = Arg(info[3], "options")["timeStages"].boolean(false);
  return Task::start(info, 4, {info[1]}, [=](Engine& engine, const Context& context) -> Task::Result {
    std::optional<StageTimes> times;
    if (time_stages) times.emplace(engine.device());
    ImageBatch images = batch;
    const auto ahead = images.encode_ahead(engine.model(), context);
    TypicalityInput work = input;
    if (ahead) work.ready = [&](int64_t image) { ahead->need(image, context); };
    work.latents = images.latents;
    work.height = images.height;
    work.width = images.width;
    TypicalityResult result = diffmine::score_typicality(engine.model(), handle.conditions, work, options, context);
    own_all(result);
    std::optional<std::map<std::string, double>> stages;
    if (times) stages = times->seconds();
    return [result = std::move(result), stages](Napi::Env env) { return result_to_js(env, result, stages); };
  });
}

Napi::Value patch_scores(Info info) {
  const Arg arg(info[1], "maps");
  const at::Tensor maps = arg.tensor(at::kFloat);
  if (maps.dim() < 2) arg.fail("maps [..., h, w]");
  const int64_t height = Arg(info[2], "height").integer(1, INT32_MAX),
                width = Arg(info[3], "width").integer(1, INT32_MAX);
  const int64_t patch = Arg(info[4], "patch").integer(1, INT32_MAX);
  return Task::start(info, 5, {}, [=](Engine& engine, const Context&) -> Task::Result {
    const auto a_h = patch_operator(maps.size(-2), height, patch).to(engine.device());
    const auto a_w = patch_operator(maps.size(-1), width, patch).to(engine.device());
    const auto scores = own(diffmine::patch_scores(maps.to(engine.device()), a_h, a_w));
    return [scores](Napi::Env env) { return to_js(env, scores); };
  });
}

Napi::Value select_patches(Info info) {
  const at::Tensor scores = Arg(info[1], "scores").tensor(at::kFloat, 2);
  const int64_t patch = Arg(info[2], "patch").integer(1, INT32_MAX),
                count = Arg(info[3], "count").integer(0, INT32_MAX);
  const bool ascending = Arg(info[4], "ascending").boolean(false);
  return Task::start(info, 5, {}, [=](Engine&, const Context&) -> Task::Result {
    const auto picks = diffmine::select_patches(scores, patch, count, ascending);
    return [picks](Napi::Env env) {
      Napi::Array array = Napi::Array::New(env, picks.size());
      for (size_t i = 0; i < picks.size(); ++i) array.Set(static_cast<uint32_t>(i), place_to_js(env, picks[i]));
      return array;
    };
  });
}

}  // namespace diffmine::binding
