// Checkpoints whose tensors have other names and shapes than diffusers': several parts of a model in one file.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "weights/weight_store.h"

namespace diffmine {

// One tensor of a part, as the file has it.
struct RenamedTensor {
  std::string name, stored;
  int64_t begin = 0, end = -1;  // rows of the stored tensor, where it holds several; all if end is negative
  bool transposed = false;      // of a matrix
  std::vector<int64_t> shape;   // in which it is read, if it is stored in another one of as many elements; else empty
};

// Views of the mapped files; nothing is read. WEIGHTS_INVALID for a tensor that is not there or has no such rows.
WeightStore renamed_weights(const std::vector<std::string>& files, const std::vector<RenamedTensor>& tensors);

}  // namespace diffmine
