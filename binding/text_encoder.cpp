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

Napi::Value encode_t5(Info info) {
  const at::Tensor ids = Arg(info[1], "ids").tensor(at::kLong, 2);
  return Task::start(info, 2, {}, [ids](Engine& engine, const Context& context) -> Task::Result {
    const auto& t5 = engine.model().t5;
    if (!t5) throw Error(code::kInvalidArgument, "The model has no T5 text encoder.");
    const auto text = own(t5->forward(ids, context));
    return [text](Napi::Env env) { return to_js(env, text); };
  });
}

}  // namespace diffmine::binding
