#include "task.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>

#include "engine.h"

namespace diffmine::binding {
namespace {

constexpr auto kProgressInterval = std::chrono::milliseconds(40);

}  // namespace

Napi::Value Task::start(const Napi::CallbackInfo& info, size_t call, std::vector<Napi::Value> keep, Work work) {
  const Napi::Env env = info.Env();
  const auto engine = Engine::from({info[0], "engine"});
  std::shared_ptr<Task> task(new Task(env, engine, std::move(work)));
  task->listen(env, {info[call], "call"});
  const Napi::Promise promise = task->deferred_.Promise();
  if (!task->signal_.IsEmpty() && task->signal_.Get("aborted").ToBoolean()) {
    task->reject(task->cancelled(env));
    return promise;
  }
  Napi::Array kept = Napi::Array::New(env);
  kept.Set(0u, info[0]);
  for (size_t i = 0; i < keep.size(); ++i) kept.Set(static_cast<uint32_t>(i + 1), keep[i]);
  task->keep_ = Napi::Persistent(kept.As<Napi::Object>());
  if (!engine->submit(task)) {
    task->reject(
        to_js_error(env, {code::kInvalidArgument, "The engine was disposed.", "Create a new Engine."}).Value());
  }
  return promise;
}

void Task::listen(Napi::Env env, const Arg& call) {
  if (!call.present()) return;
  const Arg progress = call["onProgress"], signal = call["signal"];
  if (progress.present()) on_progress_ = Napi::Persistent(progress.function());
  if (!signal.present()) return;
  if (!signal.value().IsObject() || !signal["addEventListener"].value().IsFunction()) signal.fail("an AbortSignal");
  signal_ = Napi::Persistent(signal.value().As<Napi::Object>());
  on_abort_ = Napi::Persistent(Napi::Function::New(env, [weak = weak_from_this()](const Napi::CallbackInfo& info) {
    if (const auto task = weak.lock()) task->abort(info.Env());
  }));
  signal["addEventListener"].function().Call(signal.value(), {Napi::String::New(env, "abort"), on_abort_.Value()});
}

void Task::abort(Napi::Env env) {
  if (settled_) return;
  token_.cancel();
  if (engine_->withdraw(*this)) reject(cancelled(env));
}

Napi::Value Task::cancelled(Napi::Env env) const {
  Napi::Error error = to_js_error(env, {code::kCancelled, "The work was cancelled.", ""});
  if (!signal_.IsEmpty() && signal_.Get("aborted").ToBoolean()) error.Value()["cause"] = signal_.Get("reason");
  return error.Value();
}

void Task::execute() noexcept {
  try {
    Context context;
    context.cancel = &token_;
    if (!on_progress_.IsEmpty()) context.on_progress = [this](const Progress& progress) { report(progress); };
    const c10::InferenceMode inference;
    context.check_cancelled();
    const c10::DeviceGuard device(
        engine_->device());  // throws where the driver cannot make its context: memory, a card in use
    result_ = work_(*engine_, context);
  } catch (...) {
    failure_ = current_failure();
    if (failure_->code == code::kOutOfMemory) engine_->release_memory();
  }
  work_ = nullptr;  // frees its tensors here and not on the JS thread
}

void Task::report(const Progress& progress) {
  {
    const std::lock_guard lock(progress_mutex_);
    const auto now = std::chrono::steady_clock::now();
    const bool minor =
        progress.done < progress.total && progress.stage == latest_.stage && now - told_ < kProgressInterval;
    latest_ = progress;
    if (announced_ || minor) return;
    announced_ = true;
    told_ = now;
  }
  engine_->post([task = shared_from_this()](Napi::Env env) { task->tell_progress(env); });
}

void Task::tell_progress(Napi::Env env) {
  Progress progress;
  {
    const std::lock_guard lock(progress_mutex_);
    announced_ = false;
    progress = latest_;
  }
  if (settled_ || thrown_) return;
  try {
    Napi::Object event = Napi::Object::New(env);
    event["type"] = Napi::String::New(env, progress.stage);
    event["done"] = Napi::Number::New(env, static_cast<double>(progress.done));
    event["total"] = Napi::Number::New(env, static_cast<double>(progress.total));
    on_progress_.Call({event});
  } catch (const Napi::Error& error) {
    thrown_ = error;
    token_.cancel();
  }
}

void Task::settle(Napi::Env env) {
  if (settled_) return;
  Napi::Value value, why;
  try {
    if (thrown_) why = thrown_->Value();
    else if (failure_ && failure_->code != code::kCancelled) why = to_js_error(env, *failure_).Value();
    else if (failure_ || token_.cancelled()) why = cancelled(env);
    else value = result_(env);
  } catch (const Napi::Error& error) {
    why = error.Value();
  } catch (...) {
    why = to_js_error(env, current_failure()).Value();
  }
  if (!why.IsEmpty()) return reject(why);
  stop_listening();
  drop();
  deferred_.Resolve(value);
  engine_->settled(shared_from_this());
}

void Task::reject(const Napi::Value& why) {
  if (settled_) return;
  stop_listening();
  drop();
  deferred_.Reject(why);
  engine_->settled(shared_from_this());
}

void Task::stop_listening() noexcept {
  settled_ = true;
  if (signal_.IsEmpty()) return;
  try {
    const Napi::Value remove = signal_.Get("removeEventListener");
    if (remove.IsFunction())
      remove.As<Napi::Function>().Call(signal_.Value(), {Napi::String::New(signal_.Env(), "abort"), on_abort_.Value()});
  } catch (const Napi::Error&) {
    // A signal of the caller's own make that throws: the listener finds the task finished.
  }
}

void Task::drop() noexcept {
  settled_ = true;
  keep_.Reset();
  signal_.Reset();
  on_abort_.Reset();
  on_progress_.Reset();
  thrown_.reset();
  result_ = nullptr;
}

}  // namespace diffmine::binding
