// Which LibTorch, which devices, and how fast they are.
#include "core/device.h"
#include "core/device_options.h"
#include "core/version.h"

#include "calls.h"
#include "core/engine_options.h"
#include "core/machine.h"
#include "engine.h"
#include "task.h"

namespace diffmine::binding {

Napi::Value build_info(Info info) {
  Napi::Object result = Napi::Object::New(info.Env());
  result["libtorchCompiled"] = Napi::String::New(info.Env(), libtorch_version());
  result["libtorchLoaded"] = Napi::String::New(info.Env(), libtorch_loaded_version());
#ifdef DIFFMINE_CUDA
  result["cuda"] = Napi::Boolean::New(info.Env(), true);
#else
  result["cuda"] = Napi::Boolean::New(info.Env(), false);
#endif
  Napi::Array names = Napi::Array::New(info.Env());
  for (const auto& [name, enabled] : optimizations()) names.Set(names.Length(), Napi::String::New(info.Env(), name));
  result["optimizations"] = names;
  return result;
}

Napi::Value devices(Info info) {
  const Napi::Env env = info.Env();
  Napi::Array result = Napi::Array::New(env);
  for (const DeviceInfo& device : list_devices()) {
    Napi::Object entry = Napi::Object::New(env);
    entry["id"] = Napi::String::New(env, device.id);
    entry["name"] = Napi::String::New(env, device.name);
    entry["memoryTotal"] = Napi::Number::New(env, static_cast<double>(device.memory_total));
    entry["memoryFree"] = Napi::Number::New(env, static_cast<double>(device.memory_free));
    entry["computeCapability"] = Napi::String::New(env, device.compute_capability);
    entry["cpuCapability"] = Napi::String::New(env, device.cpu_capability);
    const auto names = [&](const std::vector<std::string>& dtypes) {
      Napi::Array array = Napi::Array::New(env);
      for (const auto& name : dtypes) array.Set(array.Length(), Napi::String::New(env, name));
      return array;
    };
    entry["dtypes"] = names(device.dtypes);
    entry["nativeDtypes"] = names(device.native_dtypes);
    result.Set(result.Length(), entry);
  }
  return result;
}

Napi::Value machine_rates(Info info) {
  const auto engine = Engine::from({info[0], "engine"});
  const Arg precision(info[1], "dtype"), wanted(info[2], "seconds");
  const at::ScalarType dtype =
      precision.present() ? parse_dtype(precision.string(), engine->device()) : engine->dtype();
  const double seconds = wanted.present() ? wanted.number() : 1;
  if (seconds < 0 || seconds > 3600) wanted.fail("seconds from 0 to 3600");
  return Task::start(info, 3, {}, [=](Engine& engine, const Context& context) -> Task::Result {
    const MachineRates rates = diffmine::machine_rates(engine.device(), dtype, seconds, context);
    return [rates](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env);
      result["matmul"] = Napi::Number::New(env, rates.matmul);
      result["copy"] = Napi::Number::New(env, rates.copy);
      result["threads"] = Napi::Number::New(env, rates.threads);
      return result;
    };
  });
}

}  // namespace diffmine::binding
