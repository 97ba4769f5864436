// Trainers: made, stepped, saved and freed on an engine's thread.
#include "training/trainer.h"

#include <ATen/ops/tensor.h>

#include <functional>
#include <memory>
#include <utility>

#include "calls.h"
#include "core/cpu_allocator.h"
#include "engine.h"
#include "model.h"
#include "sampling.h"
#include "task.h"
#include "unet.h"

namespace diffmine::binding {
namespace {

constexpr napi_type_tag kTrainerTag = {0x6469666666696e65, 0x747261696e650001};
constexpr int64_t kMaxSteps = UINT32_MAX, kMaxRank = 1 << 16;

struct TrainerHandle {
  std::weak_ptr<Engine> engine;      // whose thread uses the trainer
  std::unique_ptr<Trainer> trainer;  // null once disposed
  int64_t bytes;
};
using Slot = std::shared_ptr<TrainerHandle>;

Napi::Value to_handle(Napi::Env env, Slot slot) {
  Napi::MemoryManagement::AdjustExternalMemory(env, slot->bytes);
  const auto finalize = [](Napi::Env env, Slot* held) {
    Napi::MemoryManagement::AdjustExternalMemory(env, -(*held)->bytes);
    delete held;
  };
  auto handle = Napi::External<Slot>::New(env, new Slot(std::move(slot)), finalize);
  handle.TypeTag(&kTrainerTag);
  return handle;
}

Slot trainer_argument(const Napi::CallbackInfo& info) {
  const auto engine = Engine::from({info[0], "engine"});
  const Arg arg(info[1], "trainer");
  if (arg.value().IsExternal()) {
    const auto external = arg.value().As<Napi::External<Slot>>();
    if (external.CheckTypeTag(&kTrainerTag)) {
      if ((*external.Data())->engine.lock() == engine) return *external.Data();
      throw Error(code::kInvalidArgument, "The trainer was made by another engine.",
                  "Use it with the engine that made it.");
    }
  }
  arg.fail("a trainer (from createTrainer)");
}

// A task with the trainer of info[1].
Napi::Value with_trainer(Info info, size_t call, std::function<Task::Result(Trainer&)> work) {
  return Task::start(info, call, {info[1]},
                     [slot = trainer_argument(info), work = std::move(work)](Engine&, const Context&) -> Task::Result {
                       if (!slot->trainer)
                         throw Error(code::kInvalidArgument, "The trainer was disposed.", "Create a new one.");
                       return work(*slot->trainer);
                     });
}

Task::Result nothing() {
  return [](Napi::Env env) { return env.Undefined(); };
}

TrainerOptions trainer_options(const Arg& arg, int64_t timesteps) {
  TrainerOptions o;
  const auto number = [&](const char* name, double& into) {
    if (arg[name].present()) into = arg[name].number();
  };
  const auto count = [&](const char* name, int64_t& into, int64_t max) {
    if (arg[name].present()) into = arg[name].integer(0, max);
  };
  if (arg["seed"].present()) o.seed = arg["seed"].uint64();
  o.rate.peak = arg["learningRate"].number();
  if (arg["lrSchedule"].present()) {
    o.rate.schedule = arg["lrSchedule"].choice<LearningRateSchedule>({{"constant", LearningRateSchedule::kConstant},
                                                                      {"linear", LearningRateSchedule::kLinear},
                                                                      {"cosine", LearningRateSchedule::kCosine}});
  }
  count("warmup", o.rate.warmup, kMaxSteps);
  count("totalSteps", o.rate.total, kMaxSteps);
  number("beta1", o.adamw.beta1);
  number("beta2", o.adamw.beta2);
  number("epsilon", o.adamw.epsilon);
  number("weightDecay", o.adamw.weight_decay);
  number("maxGradientNorm", o.max_gradient_norm);
  number("emaDecay", o.ema_decay);
  number("minSnr", o.min_snr);
  o.t_end = timesteps;
  if (arg["cell"].present()) o.cell = arg["cell"].integer(1, INT32_MAX);
  count("tBegin", o.t_begin, timesteps);
  count("tEnd", o.t_end, timesteps);
  number("wideFraction", o.wide_fraction);
  return o;
}

DenoiserOptions denoiser_options(const Arg& arg) {
  DenoiserOptions o;
  o.trainable = true;
  o.checkpointing = arg["checkpointing"].boolean(false);
  if (const Arg lora = arg["lora"]; lora.present()) {
    o.lora = LoraOptions{.rank = lora["rank"].integer(1, kMaxRank), .alpha = lora["alpha"].number()};
    if (arg["seed"].present()) o.lora->seed = arg["seed"].uint64();
  }
  return o;
}

TrainingBatch training_batch_argument(const Arg& arg) {
  TrainingBatch batch;
  batch.x0 = arg["x0"].tensor(at::kFloat, 4);
  batch.conditions = at::tensor(arg["conditions"].integers(0), at::kLong);
  if (arg["noise"].present()) batch.noise = arg["noise"].tensor(at::kFloat, 4);
  if (arg["timesteps"].present()) batch.timesteps = at::tensor(arg["timesteps"].integers(0), at::kLong);
  if (batch.timesteps.defined() && batch.timesteps.size(0) != batch.x0.size(0))
    arg["timesteps"].fail("one timestep for each of x0");
  return batch;
}

}  // namespace

Napi::Value create_trainer(Info info) {
  if (const auto engine = Engine::from({info[0], "engine"});
      engine->device().is_cpu() && engine->dtype() == at::kHalf) {
    throw Error(code::kDeviceUnavailable,
                "fp16 cannot be trained on a CPU: without oneDNN, gradients of convolutions are "
                "hundreds of times slower than in fp32.",
                "Use bf16 or fp32.");
  }
  const Arg source(info[1], "source");
  const auto denoiser = denoiser_argument(source);
  const ScheduleConfig schedule = schedule_argument(source["schedule"]);
  const ConditionInput conditions = conditions_argument({info[2], "conditions"});
  const TrainerOptions options = trainer_options(Arg(info[3], "options"), schedule.train_timesteps);
  const DenoiserOptions training = denoiser_options(Arg(info[3], "options"));
  return Task::start(info, 4, {}, [=](Engine& engine, const Context& context) -> Task::Result {
    const CpuCachingAllocator::Bypass
        no_cache;  // weights and moments, and what making them frees, have sizes that come no more
    DenoiserOptions with_engine = training;
    with_engine.engine = engine.options();
    WeightStore weights = denoiser.weights.open();
    const auto made = load_denoiser(denoiser.config, weights, engine.device(), engine.dtype(), context, with_engine);
    TrainerOptions scaled = options;
    if (engine.dtype() == at::kHalf) scaled.loss_scale = LossScale::kStart;
    auto trainer = std::make_unique<Trainer>(made, std::make_shared<Schedule>(schedule), conditions, scaled);
    const int64_t bytes = trainer->bytes();
    const Slot slot(new TrainerHandle{engine.weak_from_this(), std::move(trainer), bytes});
    return [slot](Napi::Env env) { return to_handle(env, slot); };
  });
}

Napi::Value train_accumulate(Info info) {
  const TrainingBatch batch = training_batch_argument(Arg(info[2], "batch"));
  const int64_t total = Arg(info[3], "total").integer(1, kMaxSteps);
  return with_trainer(info, 4, [batch, total](Trainer& trainer) {
    trainer.accumulate(batch, total);
    return nothing();
  });
}

Napi::Value train_update(Info info) {
  return with_trainer(info, 2, [](Trainer& trainer) -> Task::Result {
    const TrainingStep done = trainer.update();
    return [done](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env);
      result["step"] = Napi::Number::New(env, static_cast<double>(done.step));
      result["loss"] = Napi::Number::New(env, done.loss);
      result["gradientNorm"] = Napi::Number::New(env, done.gradient_norm);
      result["learningRate"] = Napi::Number::New(env, done.rate);
      result["skipped"] = Napi::Boolean::New(env, done.skipped);
      return result;
    };
  });
}

Napi::Value evaluate_trainer(Info info) {
  const TrainingBatch batch = training_batch_argument(Arg(info[2], "batch"));
  const uint64_t key = Arg(info[3], "key").uint64();
  const bool average = Arg(info[4], "average").boolean(false);
  return with_trainer(info, 5, [batch, key, average](Trainer& trainer) -> Task::Result {
    const double loss = trainer.evaluate(batch, key, average);
    return [loss](Napi::Env env) { return Napi::Number::New(env, loss); };
  });
}

Napi::Value train_predict(Info info) {
  const Arg input(info[2], "input");
  const at::Tensor x = input["x"].tensor(at::kFloat, 4);
  // of flows also fractions
  const at::Tensor t = at::tensor(input["timesteps"].numbers(), at::kDouble),
                   rows = at::tensor(input["conditions"].integers(0), at::kLong);
  if (t.size(0) != x.size(0)) input["timesteps"].fail("one timestep for each of x");
  if (rows.size(0) != x.size(0)) input["conditions"].fail("one condition for each of x");
  const bool average = Arg(info[3], "average").boolean(false);
  return with_trainer(info, 4, [x, t, rows, average](Trainer& trainer) -> Task::Result {
    auto output = own(trainer.predict(x, t, rows, average));
    return [output](Napi::Env env) { return to_js(env, output); };
  });
}

Napi::Value trainer_parameters(Info info) {
  return with_trainer(info, 2, [](Trainer& trainer) -> Task::Result {
    return [all = trainer.denoiser().weight_count(), trained = trainer.trained()](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env);
      result["all"] = Napi::Number::New(env, static_cast<double>(all));
      result["trained"] = Napi::Number::New(env, static_cast<double>(trained));
      return result;
    };
  });
}

Napi::Value trainer_tensors(Info info) {
  using Which = Trainer::Which;
  const Which which =
      Arg(info[2], "which")
          .choice<Which>(
              {{"weights", Which::kWeights}, {"averages", Which::kAverages}, {"gradients", Which::kGradients}});
  const auto names = Arg(info[3], "names").strings();
  return with_trainer(info, 4, [which, names](Trainer& trainer) -> Task::Result {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto& name : names) {
      if (auto tensor = trainer.tensor(which, name); tensor.defined())
        tensors.emplace_back(name, own(std::move(tensor)));
    }
    return [tensors](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env);
      for (const auto& [name, tensor] : tensors) result.Set(name, to_js(env, tensor));
      return result;
    };
  });
}

Napi::Value save_trainer(Info info) {
  const std::string path = Arg(info[2], "path").string();
  return with_trainer(info, 3, [path](Trainer& trainer) {
    trainer.save(path);
    return nothing();
  });
}

Napi::Value load_trainer(Info info) {
  const std::string path = Arg(info[2], "path").string();
  return with_trainer(info, 3, [path](Trainer& trainer) -> Task::Result {
    trainer.load(path);
    return [steps = trainer.steps()](Napi::Env env) { return Napi::Number::New(env, static_cast<double>(steps)); };
  });
}

Napi::Value export_trainer(Info info) {
  const std::string path = Arg(info[2], "path").string();
  const bool average = Arg(info[3], "average").boolean(false);
  const auto dtype = Arg(info[4], "dtype")
                         .choice<at::ScalarType>({{"fp32", at::kFloat}, {"bf16", at::kBFloat16}, {"fp16", at::kHalf}});
  return with_trainer(info, 5, [path, average, dtype](Trainer& trainer) {
    trainer.export_weights(path, average, dtype);
    return nothing();
  });
}

Napi::Value dispose_trainer(Info info) {
  return Task::start(info, 2, {info[1]}, [slot = trainer_argument(info)](Engine&, const Context&) -> Task::Result {
    slot->trainer.reset();
    return [slot](Napi::Env env) {
      Napi::MemoryManagement::AdjustExternalMemory(env, -std::exchange(slot->bytes, 0));
      return env.Undefined();
    };
  });
}

}  // namespace diffmine::binding
