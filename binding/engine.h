// One model on one device with its own compute thread (core/compute_thread.h), whose jobs are tasks (task.h).
//
// Threads. The JS thread owns the engine's life: it submits tasks, resolves or rejects their promises and ends the
// engine. The compute thread runs tasks and owns the model. What it has to tell JS goes through the mailbox, one
// thread-safe function an engine, made *before* the engine's environment clean-up hook: hooks run last in, first out,
// so the hook has joined the compute thread before Node tears the mailbox down.
//
// Ends. dispose() cancels what runs, rejects what waits, and resolves when the thread has freed the model and ended;
// the JS thread never waits for it. Only the end of the environment joins in place, within one forward pass: the
// clean-up hook (a worker's end, an event loop that ran empty), or the process's 'exit' event, because process.exit()
// runs no hooks and a thread that computes while LibTorch's globals are destroyed may crash.
#pragma once
#include <napi.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "convert.h"
#include "core/compute_thread.h"
#include "core/engine_options.h"
#include "models/model.h"

namespace diffmine::binding {

class Task;

struct EngineSettings {
  at::Device device;
  at::ScalarType dtype;
  int threads;  // OpenMP's, of the compute thread
  EngineOptions options;
  std::chrono::duration<double> idle{
      10};  // seconds that the CPU caching allocator keeps what nobody asks for, while the engine has no work
};

class Engine : public std::enable_shared_from_this<Engine> {
 public:
  // --- JS thread ---
  static Napi::Value create(Napi::Env env, const EngineSettings& settings);  // the handle
  static std::shared_ptr<Engine> from(const Arg& handle);  // INVALID_ARGUMENT for anything but `create`'s
  bool submit(const std::shared_ptr<Task>& task);          // false once disposed
  bool withdraw(const Task& task);                         // true: it was still waiting, and will not run
  void settled(const std::shared_ptr<Task>& task);
  void report_memory();  // reports new weights to the garbage collector
  Napi::Promise dispose();
  void end_now() noexcept;  // ends in place: cancels, joins, leaves promises pending

  // --- any thread ---
  const at::Device& device() const { return settings_.device; }
  at::ScalarType dtype() const { return settings_.dtype; }
  const EngineOptions& options() const { return settings_.options; }
  int64_t weight_bytes() const { return weight_bytes_; }
  void post(std::function<void(Napi::Env)> message);  // runs it on the JS thread

  // --- compute thread ---
  const Model& model() const;  // INVALID_ARGUMENT before a model is loaded
  void set_model(Model model);
  void release_memory() noexcept { model_.release_memory(settings_.device); }  // memory ran out
  bool has_model() const { return model_.denoiser != nullptr; }

 private:
  struct Message {
    std::shared_ptr<Engine> engine;
    std::function<void(Napi::Env)> run;
  };
  static void deliver(Napi::Env env, Napi::Function, Engine*, Message* message);
  using Mailbox = Napi::TypedThreadSafeFunction<Engine, Message, deliver>;

  Engine(Napi::Env env, const EngineSettings& settings);
  void close();       // begins to end; idempotent
  void finish();      // the thread has nothing left to do
  void keep_awake();  // the event loop, while promises are open

  const Napi::Env env_;
  const EngineSettings settings_;
  ComputeThread thread_;
  Mailbox mailbox_;

  Model model_;  // compute thread
  std::atomic<int64_t> weight_bytes_{0};

  std::set<std::shared_ptr<Task>> tasks_;  // JS thread, as all below: promise still pending
  std::vector<Napi::Promise::Deferred> disposals_;
  std::shared_ptr<Engine>* hook_ = nullptr;  // the environment's clean-up hook and what it holds
  int64_t reported_bytes_ = 0;               // reported to the garbage collector
  bool awake_ = false;
  bool finished_ = false;
};

// The addon's instance data: the engines of one environment (main thread or worker).
class Environment {
 public:
  void add(Napi::Env env, const std::shared_ptr<Engine>& engine);

 private:
  std::vector<std::weak_ptr<Engine>> engines_;
  bool listening_ = false;
};

}  // namespace diffmine::binding
