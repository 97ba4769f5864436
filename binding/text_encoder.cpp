// The text encoders.
#include "models/text_encoder.h"

#include "calls.h"
#include "engine.h"
#include "task.h"

namespace diffmine::binding {

Napi::Value encode_text(Info info) {
  std::vector<at::Tensor> ids;
  for (const Arg& of_encoder : Arg(info[1], "ids").items()) ids.push_back(of_encoder.tensor(at::kLong, 2));
  return Task::start(info, 2, {}, [ids](Engine& engine, const Context&) -> Task::Result {
    auto embeddings = engine.model().encode_text(ids);
    const auto text = own(std::move(embeddings.text));
    const auto pooled = embeddings.pooled.defined() ? own(std::move(embeddings.pooled)) : at::Tensor();
    return [text, pooled](Napi::Env env) {
      Napi::Object result = Napi::Object::New(env);
      result["text"] = to_js(env, text);
      if (pooled.defined()) result["pooled"] = to_js(env, pooled);
      return result;
    };
  });
}

}  // namespace diffmine::binding
