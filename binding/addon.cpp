// The addon's table of exports, and the one place where exceptions become JS errors.
#include "calls.h"
#include "convert.h"
#include "engine.h"

namespace diffmine::binding {
namespace {

using Call = Napi::Value (*)(Info);

template <Call call>
Napi::Value checked(Info info) {
  try {
    return call(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js_error(info.Env(), current_failure());
  }
}

// As checked, but what is wrong with the arguments rejects the promise: an asynchronous call never throws.
template <Call call>
Napi::Value promised(Info info) {
  Napi::Value reason;
  try {
    return call(info);
  } catch (const Napi::Error& error) {
    reason = error.Value();
  } catch (...) {
    reason = to_js_error(info.Env(), current_failure()).Value();
  }
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  deferred.Reject(reason);
  return deferred.Promise();
}

struct Export {
  const char* name;
  Call call;
};

constexpr Export kExports[] = {
    {"buildInfo", checked<build_info>},
    {"devices", checked<devices>},
    {"createEngine", checked<create_engine>},
    {"disposeEngine", promised<dispose_engine>},
    {"engineMemory", checked<engine_memory>},
    {"machineRates", promised<machine_rates>},
    {"loadModel", promised<load_model>},
    {"encodeText", promised<encode_text>},
    {"encodeT5", promised<encode_t5>},
    {"prepareConditions", promised<prepare_conditions>},
    {"unetForward", promised<unet_forward>},
    {"vaeEncode", promised<vae_encode>},
    {"vaeDecode", promised<vae_decode>},
    {"encodeImages", promised<encode_images>},
    {"schedule", checked<schedule>},
    {"addNoise", checked<add_noise>},
    {"flowSteps", checked<flow_steps>},
    {"flowStep", checked<flow_step>},
    {"ddimTimesteps", checked<ddim_timesteps>},
    {"ddimStep", checked<ddim_step>},
    {"ddimInvertStep", checked<ddim_invert_step>},
    {"drawNoise", checked<draw_noise>},
    {"drawTimesteps", checked<draw_timesteps>},
    {"scoreTypicality", promised<score_typicality>},
    {"patchScores", promised<patch_scores>},
    {"selectPatches", promised<select_patches>},
    {"dift", promised<dift>},
    {"kmeans", promised<kmeans>},
    {"heatMaps", promised<heat_maps>},
    {"createTrainer", promised<create_trainer>},
    {"trainAccumulate", promised<train_accumulate>},
    {"trainUpdate", promised<train_update>},
    {"evaluateTrainer", promised<evaluate_trainer>},
    {"trainPredict", promised<train_predict>},
    {"trainerParameters", promised<trainer_parameters>},
    {"trainerTensors", promised<trainer_tensors>},
    {"saveTrainer", promised<save_trainer>},
    {"loadTrainer", promised<load_trainer>},
    {"exportTrainer", promised<export_trainer>},
    {"disposeTrainer", promised<dispose_trainer>},
    {"readSafetensorsHeader", checked<read_safetensors_header>},
    {"readSafetensors", checked<read_safetensors>},
    {"writeSafetensors", checked<write_safetensors>},
};

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment);
  for (const Export& e : kExports) exports.Set(e.name, Napi::Function::New(env, e.call, e.name));
  return exports;
}

}  // namespace
}  // namespace diffmine::binding

static Napi::Object diffmine_init(Napi::Env env, Napi::Object exports) { return diffmine::binding::init(env, exports); }
NODE_API_MODULE(diffmine, diffmine_init)
