// The UNet: conditions and forward passes.
#include "unet.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>

#include "calls.h"
#include "task.h"
#include "translation/injection.h"

namespace diffmine::binding {
namespace {

constexpr napi_type_tag kConditionsTag = {0x6469666666696e65, 0x636f6e6469740001};

}  // namespace

Napi::Value ConditionsHandle::create(Napi::Env env, ConditionsHandle content) {
  Napi::MemoryManagement::AdjustExternalMemory(env, content.bytes);
  const auto finalize = [](Napi::Env env, ConditionsHandle* content) {
    Napi::MemoryManagement::AdjustExternalMemory(env, -content->bytes);
    delete content;
  };
  auto handle = Napi::External<ConditionsHandle>::New(env, new ConditionsHandle(std::move(content)), finalize);
  handle.TypeTag(&kConditionsTag);
  return handle;
}

ConditionsHandle ConditionsHandle::from(const Arg& handle, const std::shared_ptr<Engine>& engine) {
  if (handle.value().IsExternal()) {
    const auto external = handle.value().As<Napi::External<ConditionsHandle>>();
    if (external.CheckTypeTag(&kConditionsTag)) {
      if (external.Data()->engine.lock() == engine) return *external.Data();
      throw Error(code::kInvalidArgument, "The conditions were prepared by another engine.",
                  "Prepare them with the engine that uses them.");
    }
  }
  handle.fail("conditions (from prepareConditions)");
}

ConditionInput conditions_argument(const Arg& arg) {
  if (const Arg text = arg["text"]; text.present()) {
    ConditionInput input;
    input.text = text.tensor(at::kFloat, 3);
    if (const Arg pooled = arg["pooled"]; pooled.present()) input.pooled = pooled.tensor(at::kFloat, 2);
    if (const Arg ids = arg["timeIds"]; ids.present()) input.time_ids = ids.tensor(at::kFloat, 2);
    for (const auto& part : {input.pooled, input.time_ids})
      if (part.defined() && part.size(0) != input.rows()) arg.fail("as many rows of each tensor");
    return input;
  }
  const at::Tensor conditions = arg.tensor();
  const bool text = conditions.scalar_type() == at::kFloat && conditions.dim() == 3;
  const bool labels = conditions.scalar_type() == at::kLong && conditions.dim() == 1;
  if (!text && !labels) arg.fail("embeddings F32 [M, tokens, D] or class labels I64 [M]");
  return conditions;
}

Napi::Value prepare_conditions(Info info) {
  const ConditionInput conditions = conditions_argument({info[1], "conditions"});
  return Task::start(info, 2, {}, [conditions](Engine& engine, const Context&) -> Task::Result {
    auto prepared = engine.model().denoiser->prepare(
        conditions.each([&](const at::Tensor& part) { return part.to(engine.device()); }));
    const int64_t rows = prepared->rows, bytes = prepared->bytes();
    const ConditionsHandle content{engine.weak_from_this(), std::move(prepared), rows, bytes};
    return [content](Napi::Env env) { return ConditionsHandle::create(env, content); };
  });
}

Napi::Value unet_forward(Info info) {
  const auto handle = ConditionsHandle::from({info[1], "conditions"}, Engine::from({info[0], "engine"}));
  const Arg input(info[2], "input");
  const at::Tensor x = input["x"].tensor(at::kFloat, 4);
  const Arg timesteps = input["timesteps"];
  const auto t = at::tensor(timesteps.numbers(), at::kDouble);
  const bool whole = t.equal(t.floor());
  if (t.numel() > 0 && t.min().item<double>() < 0) timesteps.fail("timesteps of at least 0");
  const std::vector<int64_t> index = input["conditionIndex"].integers(0, handle.rows - 1);
  const int64_t fan_out = input["fanOut"].present() ? input["fanOut"].integer(1, INT32_MAX) : 1;
  const int64_t count = x.size(0);
  if (t.numel() != count) timesteps.fail("one timestep for each of the " + std::to_string(count) + " inputs");
  if (static_cast<int64_t>(index.size()) != count * fan_out) {
    input["conditionIndex"].fail(std::to_string(count * fan_out) + " condition rows (inputs x fanOut)");
  }
  PixelSize size;
  if (input["height"].present()) size = {input["height"].integer(1, INT32_MAX), input["width"].integer(1, INT32_MAX)};
  std::vector<std::string> paths;
  if (input["observe"].present()) paths = input["observe"].strings();
  std::vector<std::string> injected;
  std::vector<int64_t> source;
  if (const Arg inject = input["inject"]; inject.present()) {
    if (fan_out != 1) inject.fail("no fan-out beside it: every row has its own condition");
    injected = inject["paths"].strings();
    source = inject["source"].integers(0, count - 1);
    if (static_cast<int64_t>(source.size()) != count)
      inject["source"].fail("one row for each of the " + std::to_string(count) + " inputs");
  }

  return Task::start(info, 3, {info[1]}, [=](Engine& engine, const Context&) -> Task::Result {
    std::map<std::string, at::Tensor> observed;
    Injection injection(injected, at::tensor(source, at::kLong));
    const Observer observer = [&](std::string_view path, const at::Tensor& output) -> Observation {
      if (std::find(paths.begin(), paths.end(), path) != paths.end()) {
        // A copy: the pass continues and may write to it.
        observed[std::string(path)] = output.to(at::kCPU, at::kFloat, false, true, at::MemoryFormat::Contiguous);
      }
      return injection(path, output);
    };
    const bool watched = !paths.empty() || !injected.empty();
    const auto device = engine.device();
    const Model& model = engine.model();
    if (!whole && !model.schedule->flow())
      throw Error(code::kInvalidArgument, "This model takes whole numbers as timesteps.");
    const auto steps = t.to(device, model.schedule->flow() ? at::kFloat : at::kLong);
    const auto input = x.to(device), rows = at::tensor(index, at::TensorOptions(at::kLong).device(device));
    auto sample =
        own(model.forward(input, steps, handle.conditions, rows, fan_out, watched ? &observer : nullptr, size));
    for (const std::string& path : paths) {
      if (!observed.count(path))
        throw Error(code::kInvalidArgument, "The UNet has no module '" + path + "' to observe.");
    }
    if (!injection.unseen().empty())
      throw Error(code::kInvalidArgument,
                  "The UNet has no module '" + *injection.unseen().begin() + "' to inject into.");
    return [sample, observed](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env), outputs = Napi::Object::New(env);
      for (const auto& [path, output] : observed) outputs.Set(path, to_js(env, output));
      result["sample"] = to_js(env, sample);
      result["observed"] = outputs;
      return result;
    };
  });
}

}  // namespace diffmine::binding
