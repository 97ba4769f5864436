// Low-rank updates of weights (LoRA, Hu et al. 2021) in files: W + scale B A, with A [rank, in] and B [out, rank].
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weights/weight_store.h"

namespace diffmine {

// Tensors are taken with the updates of `file` added, times `scale`. Reads what diffusers writes
// (pytorch_lora_weights.safetensors: `unet.<module>.lora_A.weight` and `lora_B.weight`, or `transformer.<module>...`;
// there alpha / rank is 1 or in the metadata) and older `lora.down` / `lora.up` names. MODEL_INVALID where the file is
// of another model, MODEL_UNSUPPORTED where it changes more than weights of the denoiser.
void merge_lora(WeightStore& weights, const std::string& file, double scale);

// The same with names that the caller knows: weights of any part, from files of any convention.
struct LowRankUpdate {
  std::string weight;          // that is changed, as the store names it
  std::string file, down, up;  // where A and B are
  double scale = 1;            // alpha / rank included
  int64_t begin = 0, end = 0;  // rows of B that are of this weight, where one B is of several; 0 and 0: all
};

// Several updates of one weight add up. MODEL_INVALID for a weight that is not there or has another shape.
void merge_updates(WeightStore& weights, const std::vector<LowRankUpdate>& updates);

// alpha / rank of the denoiser's modules, from such a file's metadata "lora_adapter_metadata": peft's configuration as
// a JSON object. 1 if it has no alpha. WEIGHTS_INVALID where it is not valid JSON or its numbers make no scale,
// MODEL_UNSUPPORTED where modules differ.
double lora_scale(std::string_view metadata);

// What such a file's tensors are called for a module, after the part of the pipeline and a dot.
std::string lora_down_name(const std::string& module);  // "<module>.lora_A.weight"
std::string lora_up_name(const std::string& module);

}  // namespace diffmine
