// Which LibTorch, which devices.
#include "core/device.h"

#include "calls.h"
#include "convert.h"

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
    entry["threads"] = Napi::Number::New(env, device.threads);
    entry["cpuCapability"] = Napi::String::New(env, device.cpu_capability);
    result.Set(result.Length(), entry);
  }
  return result;
}

}  // namespace diffmine::binding
