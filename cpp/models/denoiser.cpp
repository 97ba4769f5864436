#include "models/denoiser.h"

namespace diffmine {

ConditionInput::ConditionInput(const at::Tensor& conditions) {
  (conditions.dim() == 1 && conditions.scalar_type() == at::kLong ? labels : text) = conditions;
}

int64_t ConditionInput::rows() const {
  const auto& given = text.defined() ? text : labels;
  return given.defined() && given.dim() > 0 ? given.size(0) : 0;
}

}  // namespace diffmine
