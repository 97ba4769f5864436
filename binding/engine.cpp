#include "engine.h"

#include <algorithm>
#include <utility>

#include "core/backends.h"
#include "task.h"

namespace diffmine::binding {
namespace {

constexpr napi_type_tag kEngineTag = {0x6469666666696e65, 0x656e67696e650001};

void end_with_environment(void* hold) {
  const std::unique_ptr<std::shared_ptr<Engine>> engine(static_cast<std::shared_ptr<Engine>*>(hold));
  (*engine)->end_now();
}

}  // namespace

void Environment::add(Napi::Env env, const std::shared_ptr<Engine>& engine) {
  std::erase_if(engines_, [](const auto& other) { return other.expired(); });
  engines_.push_back(engine);
  if (std::exchange(listening_, true)) return;
  const auto at_exit = [this](const Napi::CallbackInfo&) {
    for (const auto& other : engines_) {
      if (const auto running = other.lock()) running->end_now();
    }
  };
  const auto process = env.Global().Get("process").As<Napi::Object>();
  process.Get("on").As<Napi::Function>().Call(process,
                                              {Napi::String::New(env, "exit"), Napi::Function::New(env, at_exit)});
}

Engine::Engine(Napi::Env env, const EngineSettings& settings)
    : env_(env),
      settings_(settings),
      thread_({settings.threads, settings.device.is_cpu(), !settings.options.cpu_caching_allocator, settings.idle}) {}

Napi::Value Engine::create(Napi::Env env, const EngineSettings& settings) {
  set_up_backends(settings.device);
  std::shared_ptr<Engine> engine(new Engine(env, settings));
  engine->mailbox_ = Mailbox::New(env, "diffmine", 0, 1, engine.get());
  engine->mailbox_.Unref(env);
  engine->hook_ = new std::shared_ptr<Engine>(engine);
  napi_add_env_cleanup_hook(env, end_with_environment, engine->hook_);
  engine->thread_.start(
      engine,
      [raw = engine.get()](const std::shared_ptr<Job>& job) {
        raw->post([task = std::static_pointer_cast<Task>(job)](Napi::Env env) { task->settle(env); });
      },
      [raw = engine.get()] {
        raw->set_model({});
        raw->post([raw](Napi::Env) { raw->finish(); });
      });
  env.GetInstanceData<Environment>()->add(env, engine);

  const auto finalize = [](Napi::Env, std::shared_ptr<Engine>* hold) {
    (*hold)->close();
    delete hold;
  };
  auto handle = Napi::External<std::shared_ptr<Engine>>::New(env, new std::shared_ptr<Engine>(engine), finalize);
  handle.TypeTag(&kEngineTag);
  return handle;
}

std::shared_ptr<Engine> Engine::from(const Arg& handle) {
  if (handle.value().IsExternal()) {
    const auto external = handle.value().As<Napi::External<std::shared_ptr<Engine>>>();
    if (external.CheckTypeTag(&kEngineTag)) return *external.Data();
  }
  handle.fail("an engine (from createEngine)");
}

bool Engine::submit(const std::shared_ptr<Task>& task) {
  if (!thread_.submit(task)) return false;
  tasks_.insert(task);
  keep_awake();
  return true;
}

bool Engine::withdraw(const Task& task) { return thread_.withdraw(task); }

void Engine::settled(const std::shared_ptr<Task>& task) {
  tasks_.erase(task);
  keep_awake();
}

void Engine::keep_awake() {
  const bool wanted = !tasks_.empty() || !disposals_.empty();
  if (finished_ || wanted == awake_) return;
  awake_ = wanted;
  if (wanted) mailbox_.Ref(env_);
  else mailbox_.Unref(env_);
}

void Engine::report_memory() {
  const int64_t held = finished_ ? 0 : weight_bytes();
  Napi::MemoryManagement::AdjustExternalMemory(env_, held - reported_bytes_);
  reported_bytes_ = held;
}

Napi::Promise Engine::dispose() {
  disposals_.push_back(Napi::Promise::Deferred::New(env_));
  const Napi::Promise promise = disposals_.back().Promise();
  close();
  if (finished_) {
    disposals_.back().Resolve(env_.Undefined());
    disposals_.pop_back();
  }
  keep_awake();
  return promise;
}

void Engine::close() {
  for (const auto& job : thread_.close()) {
    std::static_pointer_cast<Task>(job)->reject(
        to_js_error(env_, {code::kCancelled, "The engine was disposed before the work began.", ""}).Value());
  }
}

void Engine::finish() {
  thread_.join();
  napi_remove_env_cleanup_hook(env_, end_with_environment, hook_);
  delete hook_;
  finished_ = true;
  mailbox_.Release();
  report_memory();
  for (const auto& disposal : disposals_) disposal.Resolve(env_.Undefined());
  disposals_.clear();
}

void Engine::end_now() noexcept {
  if (finished_) return;
  thread_.close();
  thread_.join();  // there is none if the system refused to start one
  finished_ = true;
  for (const auto& task : tasks_) task->drop();
  tasks_.clear();
  mailbox_.Release();
}

void Engine::post(std::function<void(Napi::Env)> message) {
  auto* letter = new Message{shared_from_this(), std::move(message)};
  if (mailbox_.NonBlockingCall(letter) != napi_ok) delete letter;
}

void Engine::deliver(Napi::Env env, Napi::Function, Engine*, Message* letter) {
  const std::unique_ptr<Message> message(letter);
  if (napi_env(env) == nullptr || message->engine->finished_) return;  // the environment ends: nobody listens
  try {
    message->run(env);
  } catch (const Napi::Error&) {
    // Only an environment that no longer runs JS gets here: tasks turn their own errors into rejections.
  }
}

const Model& Engine::model() const {
  if (!model_.denoiser) throw Error(code::kInvalidArgument, "The engine has no model yet.", "Call loadModel first.");
  return model_;
}

void Engine::set_model(Model model) {
  model_ = std::move(model);
  weight_bytes_ = model_.weight_bytes;
}

}  // namespace diffmine::binding
