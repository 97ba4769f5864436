// The one type of all asynchronous calls: work that runs on an engine's thread, a promise, an AbortSignal, progress.
#pragma once
#include <napi.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "convert.h"
#include "core/compute_thread.h"
#include "core/context.h"

namespace diffmine::binding {

class Engine;

class Task : public Job, public std::enable_shared_from_this<Task> {
 public:
  // Makes the JS value of a result; runs on the JS thread. Tensors in it went through `own`.
  using Result = std::function<Napi::Value(Napi::Env)>;
  // Runs on the engine's thread: captures no JS value.
  using Work = std::function<Result(Engine&, const Context&)>;

  // --- JS thread ---
  // A promise of `work`. info[0] is the engine, info[call] the CallOptions or undefined. `keep`: handles that
  // must live until the task ends, besides the engine.
  static Napi::Value start(const Napi::CallbackInfo& info, size_t call, std::vector<Napi::Value> keep, Work work);
  void settle(Napi::Env env);           // after execute
  void reject(const Napi::Value& why);  // without
  void drop() noexcept;                 // lets go of JS without a word: the environment ends

  // --- any thread ---
  void cancel() noexcept override { token_.cancel(); }

  // --- compute thread ---
  void execute() noexcept override;

 private:
  Task(Napi::Env env, std::shared_ptr<Engine> engine, Work work)
      : engine_(std::move(engine)), work_(std::move(work)), deferred_(env) {}
  void listen(Napi::Env env, const Arg& call);
  void stop_listening() noexcept;
  void abort(Napi::Env env);
  void report(const Progress& progress);  // compute thread
  void tell_progress(Napi::Env env);
  Napi::Value cancelled(Napi::Env env) const;

  const std::shared_ptr<Engine> engine_;
  CancelToken token_;

  // compute thread until execute returned, then the JS thread
  Work work_;
  Result result_;
  std::optional<Failure> failure_;

  std::mutex progress_mutex_;  // guards the next three
  Progress latest_;
  bool announced_ = false;  // a message is on its way: it will take the latest, so that JS cannot be flooded
  std::chrono::steady_clock::time_point told_{};

  // JS thread
  Napi::Promise::Deferred deferred_;
  Napi::ObjectReference keep_, signal_;
  Napi::FunctionReference on_abort_, on_progress_;
  std::optional<Napi::Error> thrown_;  // by onProgress: becomes the promise's reason
  bool settled_ = false;
};

}  // namespace diffmine::binding
