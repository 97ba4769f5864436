#include "weights/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>

#include "core/error.h"
#include "weights/names.h"

namespace diffmine {
namespace {

struct Update {
  at::Tensor down, up, alpha;
};

// The number after "key": in the metadata's JSON, which peft writes with many other keys; `absent` where there is none.
double number_in(const std::string& json, const std::string& key, double absent) {
  const auto at = json.find('"' + key + '"');
  const auto colon = at == std::string::npos ? at : json.find(':', at);
  if (colon == std::string::npos) return absent;
  const char* const begin = json.c_str() + colon + 1;
  char* end = nullptr;
  const double value = std::strtod(begin, &end);
  return end == begin ? absent : value;
}

// Modules may have scales of their own there, by patterns of their names.
bool has_pattern(const std::string& json, const std::string& key) {
  const auto at = json.find('"' + key + '"');
  if (at == std::string::npos) return false;
  const auto value = json.find_first_not_of(": \n\t\r", at + key.size() + 2);
  if (value == std::string::npos || json[value] != '{') return false;
  return json.find_first_not_of(" \n\t\r", value + 1) != json.find('}', value);
}

// alpha / rank of all modules that say nothing else.
double common_scale(const SafetensorsFile& file) {
  const auto found = file.metadata().find("lora_adapter_metadata");
  if (found == file.metadata().end()) return 1;
  const std::string& json = found->second;
  if (has_pattern(json, "unet.alpha_pattern") || has_pattern(json, "unet.rank_pattern")) {
    throw Error(code::kModelUnsupported, file.path() + ": its modules have different ranks or alphas.", "Merge it into the model with the tool that made it.");
  }
  const auto flag = json.find("\"unet.use_rslora\"");
  if (flag != std::string::npos && json.compare(json.find_first_not_of(": \n\t\r", flag + 17), 4, "true") == 0) {
    throw Error(code::kModelUnsupported, file.path() + ": its scale is alpha / sqrt(rank) (use_rslora).", "Merge it into the model with the tool that made it.");
  }
  const double rank = number_in(json, "unet.r", 1), scale = number_in(json, "unet.lora_alpha", rank) / rank;
  if (!std::isfinite(scale)) throw Error(code::kWeightsInvalid, file.path() + ": its alpha or rank is no number.");
  return scale;
}

}  // namespace

std::string lora_down_name(const std::string& module) { return module + ".lora_A.weight"; }
std::string lora_up_name(const std::string& module) { return module + ".lora_B.weight"; }

void merge_lora(WeightStore& weights, const std::string& path, double scale) {
  const auto file = SafetensorsFile::open(path);
  const auto updates = std::make_shared<std::map<std::string, Update>>();  // by the weight they change
  for (const auto& entry : file->tensors()) {
    const std::string& name = entry.first;
    const auto refuse = [&] {
      throw Error(code::kModelUnsupported, path + ": tensor " + quoted_name(name) + " is no low-rank update of a UNet's weight.",
                  "Supported are files as diffusers writes them, of the UNet alone.");
    };
    if (!name.starts_with(kLoraPrefix)) refuse();
    const auto part = [&](const char* suffix, at::Tensor Update::* member) {
      if (!name.ends_with(suffix)) return false;
      const std::string module = name.substr(std::string(kLoraPrefix).size(), name.size() - std::string(kLoraPrefix).size() - std::string(suffix).size());
      (*updates)[module + ".weight"].*member = file->tensor(name);
      return true;
    };
    if (!part(".lora_A.weight", &Update::down) && !part(".lora_B.weight", &Update::up) && !part(".lora.down.weight", &Update::down) &&
        !part(".lora.up.weight", &Update::up) && !part(".alpha", &Update::alpha)) {
      refuse();
    }
  }
  for (const auto& [name, update] : *updates) {
    if (!weights.has(name)) throw Error(code::kModelInvalid, path + " updates " + quoted_name(name) + ", which the model does not have.", "Was it trained from this model?");
    if (!update.down.defined() || !update.up.defined() || update.down.dim() < 2 || update.up.dim() < 2 || update.up.size(1) != update.down.size(0)) {
      throw Error(code::kWeightsInvalid, path + ": the two halves of the update of " + quoted_name(name) + " do not fit each other.");
    }
  }
  weights.adapt([path, updates, scale = scale * common_scale(*file)](const std::string& name, const at::Tensor& weight) {
    const auto found = updates->find(name);
    if (found == updates->end()) return weight;
    const auto& [down, up, alpha] = found->second;
    // A of a convolution is one to `rank` channels, B a 1x1 convolution after it.
    const auto product = at::mm(up.to(at::kFloat).flatten(1), down.to(at::kFloat).flatten(1));
    if (product.numel() != weight.numel() || up.size(0) != weight.size(0)) {
      throw Error(code::kModelInvalid, path + ": the update of " + quoted_name(name) + " has another shape than the weight.", "Was it trained from this model?");
    }
    const double own = alpha.defined() ? alpha.item<double>() / static_cast<double>(down.size(0)) : 1;
    return weight.to(at::kFloat) + product.view(weight.sizes()) * (scale * own);
  });
}

}  // namespace diffmine
