// One model on one device with a compute thread of its own: a first-in, first-out queue of tasks (task.h).
//
// Threads. The JS thread owns the engine's life: it submits tasks, settles their promises and ends the engine. The compute
// thread runs tasks and owns the model. What it has to tell JS goes through the mailbox, one thread-safe function an engine,
// made *before* the engine's environment clean-up hook: hooks run last in, first out, so the hook has joined the compute
// thread before Node tears the mailbox down.
//
// Ends. dispose() cancels what runs, rejects what waits, and resolves when the thread has freed the model and ended; the JS
// thread never waits for it. Only the end of the environment (hook, process.exit) joins in place, within one forward pass.
#pragma once
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "convert.h"
#include "models/model.h"

namespace diffmine::binding {

class Task;

class Engine : public std::enable_shared_from_this<Engine> {
 public:
  // --- JS thread ---
  static std::shared_ptr<Engine> start(Napi::Env env, at::Device device, at::ScalarType dtype, int threads);
  static std::shared_ptr<Engine> from(const Arg& handle);  // INVALID_ARGUMENT for anything but createEngine's result
  ~Engine();

  void submit(std::shared_ptr<Task> task);     // INVALID_ARGUMENT once disposed
  bool withdraw(const Task& task);             // true: it was still waiting, and will not run
  void settled(const std::shared_ptr<Task>& task);
  Napi::Promise dispose(Napi::Env env);
  void close(Napi::Env env);                   // begins to end; idempotent
  void end_now() noexcept;                     // ends in place: cancels, joins, settles nothing
  int64_t weight_bytes() const { return weight_bytes_; }

  // --- any thread ---
  const at::Device& device() const { return device_; }
  at::ScalarType dtype() const { return dtype_; }
  void post(std::function<void(Napi::Env)> message);  // runs it on the JS thread

  // --- compute thread ---
  const Model& model() const;              // INVALID_ARGUMENT before a model is loaded
  void set_model(Model model, int64_t bytes);
  bool has_model() const { return model_.unet != nullptr; }

 private:
  struct Message {
    std::shared_ptr<Engine> engine;
    std::function<void(Napi::Env)> run;
  };
  static void deliver(Napi::Env env, Napi::Function, Engine*, Message* message);
  using Mailbox = Napi::TypedThreadSafeFunction<Engine, Message, deliver>;

  Engine(at::Device device, at::ScalarType dtype, int threads) : device_(device), dtype_(dtype), threads_(threads) {}
  void loop() noexcept;
  void finish(Napi::Env env);  // the thread has nothing left to do
  void forget_environment() noexcept;

  const at::Device device_;
  const at::ScalarType dtype_;
  const int threads_;
  std::thread thread_;
  Mailbox mailbox_;

  std::mutex mutex_;  // guards the next four
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Task>> waiting_;
  std::shared_ptr<Task> running_;
  bool closing_ = false;

  Model model_;                             // compute thread
  std::atomic<int64_t> weight_bytes_{0};

  napi_env env_ = nullptr;                  // JS thread, as all below
  std::set<std::shared_ptr<Task>> tasks_;   // not yet settled
  std::vector<Napi::Promise::Deferred> disposals_;
  int64_t reported_bytes_ = 0;              // told to the garbage collector
  bool finished_ = false;
};

// createEngine, disposeEngine, engineMemory, loadModel are in engine_calls (engine.cpp, model.cpp).
Napi::Value create_engine(const Napi::CallbackInfo& info);
Napi::Value dispose_engine(const Napi::CallbackInfo& info);
Napi::Value engine_memory(const Napi::CallbackInfo& info);

}  // namespace diffmine::binding
