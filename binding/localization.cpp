// Heat maps.
#include "localization/heat_map.h"

#include "calls.h"
#include "convert.h"
#include "engine.h"
#include "task.h"

namespace diffmine::binding {

Napi::Value heat_maps(Info info) {
  const at::Tensor maps = Arg(info[1], "maps").tensor(at::kFloat, 3);
  const Arg options(info[2], "options");
  HeatMapOptions wanted;
  wanted.height = options["height"].integer(1, INT32_MAX);
  wanted.width = options["width"].integer(1, INT32_MAX);
  if (options["sigma"].present() || options["kernel"].present()) {
    wanted.kernel = options["kernel"].integer(1, INT32_MAX);
    wanted.sigma = options["sigma"].number();
  }
  return Task::start(info, 3, {}, [=](Engine& engine, const Context&) -> Task::Result {
    const auto heat = own(diffmine::heat_maps(maps.to(engine.device()), wanted));
    return [heat](Napi::Env env) { return to_js(env, heat); };
  });
}

}  // namespace diffmine::binding
