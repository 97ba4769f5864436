#include "task.h"

#include <c10/core/InferenceMode.h>

#include "engine.h"

namespace diffmine::binding {
namespace {

constexpr auto kProgressInterval = std::chrono::milliseconds(40);

}  // namespace

Napi::Value Task::start(Napi::Env env, std::shared_ptr<Engine> engine, const Arg& call, const std::vector<Napi::Value>& keep, Work work) {
  std::shared_ptr<Task> task(new Task(env, engine, std::move(work)));
  task->listen(env, call);
  const Napi::Promise promise = task->deferred_.Promise();
  if (!task->signal_.IsEmpty() && task->signal_.Get("aborted").ToBoolean()) {
    task->reject(env, task->cancelled(env));
    return promise;
  }
  Napi::Array kept = Napi::Array::New(env, keep.size());
  for (size_t i = 0; i < keep.size(); ++i) kept.Set(static_cast<uint32_t>(i), keep[i]);
  task->keep_ = Napi::Persistent(kept.As<Napi::Object>());
  try {
    engine->submit(task);
  } catch (...) {
    task->reject(env, to_js_error(env, current_failure()).Value());
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
  if (engine_->withdraw(*this)) reject(env, cancelled(env));
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
    result_ = work_(*engine_, context);
  } catch (...) {
    failure_ = current_failure();
  }
  work_ = nullptr;  // frees its tensors here and not on the JS thread
}

void Task::report(const Progress& progress) {
  {
    const std::lock_guard lock(progress_mutex_);
    const auto now = std::chrono::steady_clock::now();
    const bool minor = progress.done < progress.total && progress.stage == latest_.stage && now - told_ < kProgressInterval;
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
    event["stage"] = Napi::String::New(env, progress.stage);
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
  Napi::Value reason;
  try {
    if (thrown_) reason = thrown_->Value();
    else if (failure_ && failure_->code != code::kCancelled) reason = to_js_error(env, *failure_).Value();
    else if (failure_ || token_.cancelled()) reason = cancelled(env);
    else {
      const Napi::Value value = result_(env);
      drop();
      deferred_.Resolve(value);
    }
  } catch (const Napi::Error& error) {
    reason = error.Value();
  } catch (...) {
    reason = to_js_error(env, current_failure()).Value();
  }
  if (!reason.IsEmpty()) reject(env, reason);
  engine_->settled(shared_from_this());
}

void Task::reject(Napi::Env env, const Napi::Value& reason) {
  if (settled_) return;
  drop();
  deferred_.Reject(reason);
  engine_->settled(shared_from_this());
}

void Task::drop() noexcept {
  settled_ = true;
  try {
    if (!signal_.IsEmpty()) {
      const Napi::Env env = signal_.Env();
      signal_.Get("removeEventListener").As<Napi::Function>().Call(signal_.Value(), {Napi::String::New(env, "abort"), on_abort_.Value()});
    }
  } catch (...) {
    // A signal that throws, or an environment that runs no JS any more: nothing is left to tell.
  }
  keep_.Reset();
  signal_.Reset();
  on_abort_.Reset();
  on_progress_.Reset();
  thrown_.reset();
  result_ = nullptr;
}

}  // namespace diffmine::binding
