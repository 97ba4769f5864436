// WeightStore: the tensors of one model part, possibly over several files (shards), in memory, or made on demand.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "weights/safetensors.h"

namespace diffmine {

// Tracks what was taken, so that a loader can name the tensors it does not know.
class WeightStore {
 public:
  explicit WeightStore(const std::vector<std::string>& files);  // a name in two files: WEIGHTS_INVALID
  explicit WeightStore(std::map<std::string, at::Tensor> tensors);
  // Tensors made on demand (weights/random.h): has() is true for every name, and names() is empty.
  using Maker = std::function<at::Tensor(const std::string& name, at::IntArrayRef shape)>;
  explicit WeightStore(Maker make) : make_(std::move(make)) {}

  bool has(const std::string& name) const;
  // The tensor, its shape checked. Throws MODEL_INVALID naming tensor, wanted and found shape.
  at::Tensor take(const std::string& name, at::IntArrayRef shape);
  // As take, any shape (the loader checks it).
  at::Tensor take(const std::string& name);
  // Rename tensors before loading (older key names): f(old) -> new.
  void rename(const std::function<std::string(const std::string&)>& f);
  // What take returns goes through f(name, tensor), of the same shape.
  using Adapter = std::function<at::Tensor(const std::string& name, const at::Tensor& tensor)>;
  void adapt(Adapter f) { adapt_ = std::move(f); }
  // Throws MODEL_INVALID naming up to five tensors never taken; `ignored` are suffixes to overlook (".position_ids").
  void expect_all_taken(const std::vector<std::string>& ignored) const;
  uint64_t bytes() const;  // stored size of all tensors
  std::vector<std::string> names() const;

 private:
  at::Tensor stored(const std::string& name);
  std::vector<std::shared_ptr<SafetensorsFile>> files_;
  std::map<std::string, std::pair<int, std::string>> where_;  // name -> (file, name in it); file -1: memory_
  std::map<std::string, at::Tensor> memory_;
  Maker make_;
  Adapter adapt_;
  std::set<std::string> taken_;
};

}  // namespace diffmine
