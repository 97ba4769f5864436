// The handle of prepared conditions.
#pragma once
#include "engine.h"
#include "models/denoiser.h"

namespace diffmine::binding {

struct ConditionsHandle {
  std::weak_ptr<Engine> engine;  // that prepared them: no other may use them
  std::shared_ptr<const Conditions> conditions;
  int64_t rows;
  int64_t bytes;

  static Napi::Value create(Napi::Env env, ConditionsHandle handle);
  // INVALID_ARGUMENT for anything but prepareConditions' result of the engine.
  static ConditionsHandle from(const Arg& handle, const std::shared_ptr<Engine>& engine);
};

// Embeddings F32 [M, tokens, D] or class labels I64 [M]; or { text, pooled, timeIds? }.
ConditionInput conditions_argument(const Arg& arg);

}  // namespace diffmine::binding
