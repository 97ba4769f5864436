// The text encoder.
#include "models/text_encoder.h"

#include "calls.h"
#include "engine.h"
#include "task.h"

namespace diffmine::binding {

Napi::Value encode_text(Info info) {
  const at::Tensor ids = Arg(info[1], "ids").tensor(at::kLong, 2);
  return Task::start(info, 2, {}, [ids](Engine& engine, const Context&) -> Task::Result {
    const auto& encoder = engine.model().text_encoder;
    if (!encoder)
      throw Error(code::kInvalidArgument, "The model has no text encoder: its conditions are class labels.");
    const auto states = own(encoder->forward(ids.to(engine.device())));
    return [states](Napi::Env env) { return to_js(env, states); };
  });
}

}  // namespace diffmine::binding
