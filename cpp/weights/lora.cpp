#include "weights/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>

#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "weights/json.h"
#include "weights/names.h"

namespace diffmine {
namespace {

struct Update {
  at::Tensor down, up, alpha;
};

constexpr std::array<std::string_view, 2> kPrefixes{"unet.", "transformer."};

// A name without the part that it begins with; empty for another part.
std::string_view within_part(std::string_view name) {
  for (const auto prefix : kPrefixes)
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  return {};
}

// alpha / rank of all modules without their own.
double common_scale(const SafetensorsFile& file) {
  const auto found = file.metadata().find("lora_adapter_metadata");
  if (found == file.metadata().end()) return 1;
  try {
    return lora_scale(found->second);
  } catch (const Error& error) {
    throw Error(error.code(), file.path() + ": " + error.what(), error.hint());
  }
}

}  // namespace

std::string lora_down_name(const std::string& module) { return module + ".lora_A.weight"; }
std::string lora_up_name(const std::string& module) { return module + ".lora_B.weight"; }

double lora_scale(std::string_view metadata) {
  static constexpr const char* kMerge = "Merge it into the model with the tool that made it.";
  std::optional<double> rank, alpha;
  bool patterns = false, root = false;  // modules with ranks or alphas of their own; alpha / sqrt(rank)
  try {
    JsonReader json(metadata, "lora_adapter_metadata");
    json.object([&](const std::string& key) {
      if (json.null()) return;
      const auto own = within_part(key);
      if (own == "r") {
        rank = json.number();
      } else if (own == "lora_alpha") {
        alpha = json.number();
      } else if (own == "use_rslora") {
        root = json.boolean();
      } else if (own == "alpha_pattern" || own == "rank_pattern") {
        json.object([&](const std::string&) {
          patterns = true;
          json.skip();
        });
      } else {
        json.skip();
      }
    });
    json.end();
  } catch (const JsonError& error) {
    throw Error(code::kWeightsInvalid, std::string("its metadata is not valid JSON (") + error.what() + ").",
                "The file is damaged: download or export it again.");
  }
  if (patterns) throw Error(code::kModelUnsupported, "its modules have different ranks or alphas.", kMerge);
  if (root) throw Error(code::kModelUnsupported, "its scale is alpha / sqrt(rank) (use_rslora).", kMerge);
  const double scale = rank ? alpha.value_or(*rank) / *rank : alpha.value_or(1);
  if ((rank && !(*rank >= 1)) || !std::isfinite(scale)) {
    throw Error(code::kWeightsInvalid, "its metadata has a rank below 1, or a rank or an alpha that is not finite.",
                "The file is damaged: download or export it again.");
  }
  return scale;
}

void merge_lora(WeightStore& weights, const std::string& path, double scale) {
  const auto file = SafetensorsFile::open(path);
  const auto updates = std::make_shared<std::map<std::string, Update>>();  // by the weight they change
  for (const auto& entry : file->tensors()) {
    const std::string& name = entry.first;
    const auto refuse = [&] {
      throw Error(code::kModelUnsupported,
                  path + ": tensor " + quoted_name(name) + " is not a LoRA weight of a UNet or a transformer.",
                  "Supported are LoRA files as diffusers writes them, for the denoiser only.");
    };
    const std::string own(within_part(name));
    if (own.empty()) refuse();
    const auto part = [&](const char* suffix, at::Tensor Update::*member) {
      if (!own.ends_with(suffix)) return false;
      const std::string module = own.substr(0, own.size() - std::string(suffix).size());
      (*updates)[module + ".weight"].*member = file->tensor(name);
      return true;
    };
    if (!part(".lora_A.weight", &Update::down) && !part(".lora_B.weight", &Update::up) &&
        !part(".lora.down.weight", &Update::down) && !part(".lora.up.weight", &Update::up) &&
        !part(".alpha", &Update::alpha)) {
      refuse();
    }
  }
  for (const auto& [name, update] : *updates) {
    if (!weights.has(name))
      throw Error(code::kModelInvalid, path + " updates " + quoted_name(name) + ", which the model does not have.",
                  "Was it trained from this model?");
    if (!update.down.defined() || !update.up.defined() || update.down.dim() < 2 || update.up.dim() < 2 ||
        update.up.size(1) != update.down.size(0)) {
      throw Error(code::kWeightsInvalid,
                  path + ": the two LoRA matrices of " + quoted_name(name) + " do not fit each other.");
    }
  }
  weights.adapt(
      [path, updates, scale = scale * common_scale(*file)](const std::string& name, const at::Tensor& weight) {
        const auto found = updates->find(name);
        if (found == updates->end()) return weight;
        const auto& [down, up, alpha] = found->second;
        // A of a convolution is one to `rank` channels, B a 1x1 convolution after it.
        const auto product = at::mm(up.to(at::kFloat).flatten(1), down.to(at::kFloat).flatten(1));
        if (product.numel() != weight.numel() || up.size(0) != weight.size(0)) {
          throw Error(code::kModelInvalid,
                      path + ": the LoRA of " + quoted_name(name) + " does not have the shape of the weight.",
                      "Was it trained from this model?");
        }
        const double own = alpha.defined() ? alpha.item<double>() / static_cast<double>(down.size(0)) : 1;
        return weight.to(at::kFloat) + product.view(weight.sizes()) * (scale * own);
      });
}

namespace {

// Text encoders are loaded under names without the prefix that most files have.
std::string bare(const std::string& name) { return name.starts_with("text_model.") ? name.substr(11) : name; }

}  // namespace

void merge_updates(WeightStore& weights, const std::vector<LowRankUpdate>& updates) {
  struct Matrices {
    std::string file;
    at::Tensor down, up;
    double scale;
  };
  std::map<std::string, std::shared_ptr<SafetensorsFile>> files;
  const auto merged = std::make_shared<std::map<std::string, std::vector<Matrices>>>();
  for (const LowRankUpdate& one : updates) {
    if (!weights.has(one.weight))
      throw Error(code::kModelInvalid,
                  one.file + " updates " + quoted_name(one.weight) + ", which the model does not have.",
                  "Was it trained from this model?");
    auto& file = files[one.file];
    if (!file) file = SafetensorsFile::open(one.file);
    at::Tensor up = file->tensor(one.up);
    if (one.end > 0) {
      if (one.begin < 0 || one.begin >= one.end || up.dim() < 2 || one.end > up.size(0))
        throw Error(code::kModelInvalid, one.file + " has too few rows in " + quoted_name(one.up) + ".",
                    "Was it trained from this model?");
      up = up.slice(0, one.begin, one.end);
    }
    (*merged)[bare(one.weight)].push_back({one.file, file->tensor(one.down), up, one.scale});
  }
  weights.adapt([merged](const std::string& name, const at::Tensor& weight) {
    const auto found = merged->find(bare(name));
    if (found == merged->end()) return weight;
    at::Tensor sum = weight.to(at::kFloat);
    for (const auto& [file, down, up, scale] : found->second) {
      const bool fit = up.dim() >= 2 && down.dim() >= 2 && up.size(0) == weight.size(0) &&
                       up.numel() == up.size(0) * down.size(0) &&
                       up.size(0) * (down.numel() / down.size(0)) == weight.numel();
      if (!fit)
        throw Error(code::kModelInvalid,
                    file + ": the LoRA of " + quoted_name(name) + " does not have the shape of the weight.",
                    "Was it trained from this model?");
      // A of a convolution is one to `rank` channels, B a 1x1 convolution after it
      const auto product = at::mm(up.to(at::kFloat).flatten(1), down.to(at::kFloat).flatten(1));
      sum = sum + product.view(weight.sizes()) * scale;
    }
    return sum;
  });
}

}  // namespace diffmine
