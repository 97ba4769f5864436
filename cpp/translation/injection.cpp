#include "translation/injection.h"

#include <ATen/ops/index_select.h>

#include "core/error.h"

namespace diffmine {

Injection::Injection(const std::vector<std::string>& paths, const at::Tensor& source)
    : paths_(paths.begin(), paths.end()), unseen_(paths_), source_(source) {
  const int64_t rows = source.numel();
  if (source.dim() != 1 || (rows > 0 && (source.min().item<int64_t>() < 0 || source.max().item<int64_t>() >= rows))) {
    throw Error(code::kInvalidArgument, "The source of each row of an injection must be one of the forward pass's " +
                                            std::to_string(rows) + " rows.");
  }
}

Observation Injection::operator()(std::string_view path, const at::Tensor& output) {
  if (!paths_.contains(path)) return {};
  if (const auto found = unseen_.find(path); found != unseen_.end()) unseen_.erase(found);
  if (output.size(0) != source_.numel()) {
    throw Error(code::kInvalidArgument, "An injection needs one source per row: the forward pass has " +
                                            std::to_string(output.size(0)) + " rows, the injection " +
                                            std::to_string(source_.numel()) + " sources.");
  }
  source_ = source_.to(output.device());
  return {output.index_select(0, source_)};
}

}  // namespace diffmine
