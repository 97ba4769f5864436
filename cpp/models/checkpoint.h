// Gradient checkpointing (Chen et al. 2016): a part of the graph that keeps its inputs alone and is computed again for
// its gradient.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace diffmine {

// One result from tensors. Kept until the gradient was computed: it owns what it captures, or that outlives the graph.
using CheckpointedWork = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;

// work(inputs). Gradients flow into every one of `inputs` and, when the backward pass comes by, into the leaves that
// work uses; any other tensor of the graph must be among the inputs.
at::Tensor checkpoint(const CheckpointedWork& work, std::vector<at::Tensor> inputs);

}  // namespace diffmine
