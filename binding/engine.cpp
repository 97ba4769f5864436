#include "engine.h"

#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <optional>

#include "core/device.h"
#include "task.h"

namespace diffmine::binding {
namespace {

constexpr napi_type_tag kEngineTag = {0x6469666666696e65, 0x656e67696e650001};

// What the environment's clean-up hook is given; removed when the engine finished earlier.
void end_with_environment(void* hold) {
  const std::unique_ptr<std::shared_ptr<Engine>> engine(static_cast<std::shared_ptr<Engine>*>(hold));
  (*engine)->end_now();
}

}  // namespace
