// Plug-and-Play diffusion features (Tumanyan et al., CVPR 2023): the rows of a forward pass that redraw an image take
// chosen features and attention from the row that denoises the image itself.
#pragma once
#include <ATen/core/Tensor.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "models/observer.h"

namespace diffmine {

// An Observer of a forward pass with one condition an input: at each module path the output of row r becomes that of
// row source[r].
class Injection {
 public:
  // source [rows] int64, each in 0 ... rows - 1. Throws INVALID_ARGUMENT for another.
  Injection(const std::vector<std::string>& paths, const at::Tensor& source);

  Observation operator()(std::string_view path, const at::Tensor& output);

  // Paths that no module of the pass had.
  const std::set<std::string, std::less<>>& unseen() const { return unseen_; }

 private:
  std::set<std::string, std::less<>> paths_, unseen_;
  at::Tensor source_;
};

}  // namespace diffmine
