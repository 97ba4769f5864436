#include "weights/renamed.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "weights/names.h"

namespace diffmine {
namespace {

at::Tensor view_of(const SafetensorsFile& file, const RenamedTensor& wanted) {
  const auto refuse = [&](const std::string& what) {
    throw Error(code::kWeightsInvalid, file.path() + ": tensor " + quoted_name(wanted.stored) + " " + what + ".",
                "Is the checkpoint complete?");
  };
  at::Tensor tensor = file.tensor(wanted.stored);
  if (wanted.end >= 0) {
    if (tensor.dim() < 1 || wanted.begin < 0 || wanted.begin > wanted.end || wanted.end > tensor.size(0))
      refuse("has the shape " + shape_text(tensor.sizes()) + ", without rows " + std::to_string(wanted.begin) + " to " +
             std::to_string(wanted.end));
    tensor = tensor.narrow(0, wanted.begin, wanted.end - wanted.begin);
  }
  if (wanted.transposed) {
    if (tensor.dim() != 2) refuse("is not a matrix");
    // Copied: a matmul with a transposed view may round differently from the same weights in a folder.
    tensor = tensor.t().contiguous();
  }
  if (!wanted.shape.empty()) {
    const int64_t count = std::accumulate(wanted.shape.begin(), wanted.shape.end(), int64_t{1}, std::multiplies<>());
    if (count != tensor.numel())
      refuse("has the shape " + shape_text(tensor.sizes()) + ", not as many elements as " + shape_text(wanted.shape));
    tensor = tensor.reshape(wanted.shape);
  }
  return tensor;
}

}  // namespace

WeightStore renamed_weights(const std::vector<std::string>& files, const std::vector<RenamedTensor>& tensors) {
  std::vector<std::shared_ptr<SafetensorsFile>> opened;
  for (const std::string& path : files) opened.push_back(SafetensorsFile::open(path));
  std::map<std::string, at::Tensor> views;
  for (const RenamedTensor& wanted : tensors) {
    const auto found =
        std::find_if(opened.begin(), opened.end(), [&](const auto& file) { return file->has(wanted.stored); });
    if (found == opened.end())
      throw Error(code::kWeightsInvalid,
                  (files.empty() ? "The weights have" : files[0] + " has") + std::string(" no tensor ") +
                      quoted_name(wanted.stored) + ".",
                  "Is the checkpoint complete?");
    views.emplace(wanted.name, view_of(**found, wanted));
  }
  return WeightStore(std::move(views));
}

}  // namespace diffmine
