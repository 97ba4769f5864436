#include "core/engine_options.h"

#include <algorithm>

#include "core/error.h"

namespace diffmine {

const std::vector<std::pair<std::string, bool EngineOptions::*>>& optimizations() {
  static const std::vector<std::pair<std::string, bool EngineOptions::*>> all{
      {"graphs", &EngineOptions::graphs},
      {"prepacked-weights", &EngineOptions::prepacked_weights},
      {"winograd", &EngineOptions::winograd},
      {"group-norm", &EngineOptions::group_norm},
      {"geglu", &EngineOptions::geglu},
      {"shared-prefix", &EngineOptions::shared_prefix},
      {"cached-keys", &EngineOptions::cached_keys},
      {"block-attention", &EngineOptions::block_attention},
      {"cudnn-attention", &EngineOptions::cudnn_attention},
      {"cpu-caching-allocator", &EngineOptions::cpu_caching_allocator},
      {"pinned-uploads", &EngineOptions::pinned_uploads},
      {"encode-tf32", &EngineOptions::encode_tf32},
      {"encode-ahead", &EngineOptions::encode_ahead},
  };
  return all;
}

EngineOptions EngineOptions::without(const std::vector<std::string>& names) {
  EngineOptions options;
  for (const auto& name : names) {
    const auto& all = optimizations();
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.first == name; });
    if (found == all.end()) {
      std::string known;
      for (const auto& one : all) known += (known.empty() ? "" : ", ") + one.first;
      throw Error(code::kInvalidArgument, "There is no optimization \"" + name + "\".",
                  "Optimizations: " + known + ".");
    }
    options.*found->second = false;
  }
  return options;
}

}  // namespace diffmine
