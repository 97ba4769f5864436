// Loads the tensors of one model part onto its device.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "core/engine_options.h"
#include "weights/weight_store.h"

namespace diffmine {

// Tensors to train by the names they are stored under, in the order they were loaded.
using Parameters = std::vector<std::pair<std::string, at::Tensor>>;

// Low-rank updates to train in place of the weights of attention's projections.
struct LoraOptions {
  int64_t rank = 4;
  double alpha = 4;   // the update is alpha / rank B A
  uint64_t seed = 0;  // of A; B begins at 0
};

// One such update, with leaves A [rank, in] and B [out, rank].
struct LoraUpdate {
  at::Tensor down, up;
  double scale = 1;
  at::Tensor operator()(const at::Tensor& x) const;  // [.., in] -> [.., out]
};

// Takes tensors out of a WeightStore, by name, in the precision and on the device of one model part.
class Loader {
 public:
  // With `parameters`, what is taken is a leaf of autograd's graph, in fp32 whatever the precision, and noted there;
  // with `lora` besides, only the updates are.
  Loader(WeightStore& weights, const at::Device& device, at::ScalarType dtype, const Context& context,
         const EngineOptions& options = {}, Parameters* parameters = nullptr, const LoraOptions* lora = nullptr)
      : weights_(weights),
        device_(device),
        dtype_(dtype),
        context_(context),
        options_(options),
        parameters_(parameters),
        lora_(lora) {}

  // A copy in the loader's precision (or `dtype`), checked for shape and for NaN and infinity (WEIGHTS_INVALID).
  at::Tensor take(const std::string& name, at::IntArrayRef shape, std::optional<at::ScalarType> dtype = {});
  // The same in the dtype it is stored in.
  at::Tensor take_stored(const std::string& name, at::IntArrayRef shape);
  // The update to train of a Linear [out, in]; none if it is not a projection of an attention, or its weights
  // themselves are trained or fixed.
  std::optional<LoraUpdate> update(const std::string& name, int64_t in, int64_t out);
  bool has(const std::string& name) const { return weights_.has(name); }
  bool differentiable() const { return parameters_ != nullptr; }  // the layers will take part in a graph
  const at::Device& device() const { return device_; }
  at::ScalarType dtype() const { return dtype_; }
  const EngineOptions& options() const { return options_; }
  // Of convolutions loaded from now on, on CUDA in fp32.
  void allow_tf32(bool allowed) { tf32_ = allowed; }
  bool tf32() const { return tf32_; }
  int64_t bytes() const { return bytes_; }  // taken so far, in the loader's precision and as they are kept
  void kept(const at::Tensor& taken, const at::Tensor& as) {
    bytes_ += static_cast<int64_t>(as.nbytes()) - static_cast<int64_t>(taken.nbytes());
  }
  int64_t count() const { return count_; }  // elements taken so far, updates left out

 private:
  at::Tensor checked(const std::string& name, at::IntArrayRef shape);
  WeightStore& weights_;
  at::Device device_;
  at::ScalarType dtype_;
  const Context& context_;
  const EngineOptions options_;
  bool tf32_ = false;
  Parameters* parameters_;
  const LoraOptions* lora_;
  int64_t bytes_ = 0, count_ = 0, taken_ = 0;
};

}  // namespace diffmine
