// k-means.
#include "clustering/kmeans.h"

#include "calls.h"
#include "engine.h"
#include "task.h"

namespace diffmine::binding {

Napi::Value kmeans(Info info) {
  const at::Tensor points = Arg(info[1], "points").tensor(at::kFloat, 2);
  const Arg arg(info[2], "options");
  KMeansOptions options;
  options.clusters = arg["clusters"].integer(1, INT32_MAX);
  options.restarts = arg["restarts"].integer(1, INT32_MAX);
  options.seed = arg["seed"].uint64();
  if (arg["iterations"].present()) options.iterations = arg["iterations"].integer(1, INT32_MAX);
  if (arg["tolerance"].present()) options.tolerance = arg["tolerance"].number();
  return Task::start(info, 3, {}, [=](Engine&, const Context& context) -> Task::Result {
    KMeansResult result = diffmine::kmeans(points, options, context);
    result.labels = own(std::move(result.labels));
    result.centers = own(std::move(result.centers));
    result.distances = own(std::move(result.distances));
    return [result](Napi::Env env) {
      Napi::Object object = Napi::Object::New(env);
      object["labels"] = to_js(env, result.labels);
      object["centers"] = to_js(env, result.centers);
      object["distances"] = to_js(env, result.distances);
      object["inertia"] = Napi::Number::New(env, result.inertia);
      object["iterations"] = Napi::Number::New(env, static_cast<double>(result.iterations));
      return object;
    };
  });
}

}  // namespace diffmine::binding
