// preload.node: opens shared libraries by their full paths. The addon of a platform package has no search path for
// LibTorch, which lies in a cache that nobody knew when it was built; libraries that are open already are found by
// their names.
#include <dlfcn.h>
#include <node_api.h>

#include <string>

namespace {

/** open(path): keeps the library open until the process ends. Throws what the dynamic loader says. */
napi_value open(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  size_t length = 0;
  if (napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr) != napi_ok ||
      napi_get_value_string_utf8(env, argument, nullptr, 0, &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "open needs a path");
    return nullptr;
  }
  std::string path(length, '\0');
  napi_get_value_string_utf8(env, argument, path.data(), length + 1, &length);
  // Local, as if the addon had opened it: symbols of LibTorch, which bundles oneDNN and protobuf, stay away from other
  // addons.
  if (!dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL)) napi_throw_error(env, nullptr, dlerror());
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value function = nullptr;
  if (napi_create_function(env, "open", NAPI_AUTO_LENGTH, open, nullptr, &function) != napi_ok) return nullptr;
  napi_set_named_property(env, exports, "open", function);
  return exports;
}
