// Forward passes that repeat, launched as CUDA graphs: one launch in place of a thousand.
//
// A pass of few rows is over sooner than its kernels are launched one by one. What is captured is the denoiser's
// forward without an observer, over buffers that keep their place: inputs are copied in, keys and values of the
// conditions are read where they lie. So whatever runs inside Denoiser::forward on CUDA may neither wait for the device
// nor read its values on the host. Large passes are launched op by op: their launches are hidden, and a graph keeps the
// memory of its activations.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>

#include "models/denoiser.h"

namespace diffmine {

class DenoiserGraphs {
 public:
  explicit DenoiserGraphs(std::shared_ptr<const Denoiser> denoiser);
  ~DenoiserGraphs();

  // As Denoiser::forward. The result is valid until the next call: a graph writes to one place.
  // Where capturing fails, or on a CPU, the pass is launched op by op.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const std::shared_ptr<const Conditions>& conditions,
                     const at::Tensor& condition_index, int64_t fan_out, PixelSize size);

  // Frees the graphs' memory; they are captured again when needed.
  void clear();

  // Graphs that are held: none on a CPU, or where capturing fails.
  int64_t captured() const;

  // Whether a pass of `rows` inputs of h x w is so short that launching it costs time. A count: the same on any device.
  static bool pays(int64_t rows, int64_t height, int64_t width, int64_t parameters);

 private:
  struct Capture;
  struct State;  // of the device: streams, the graphs' memory
  void discard(const std::function<bool(const Capture&)>& which);
  const std::shared_ptr<const Denoiser> denoiser_;
  std::list<Capture> captures_;  // the latest first
  std::unique_ptr<State> state_;
};

}  // namespace diffmine
