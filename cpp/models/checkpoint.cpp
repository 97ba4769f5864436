#include "models/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace diffmine {
namespace {

constexpr const char* kWork = "work";

struct Held : torch::CustomClassHolder {
  explicit Held(CheckpointedWork w) : work(std::move(w)) {}
  CheckpointedWork work;
};

// The same values, cut off from the graph they came from.
std::vector<at::Tensor> leaves_of(at::TensorList inputs) {
  std::vector<at::Tensor> leaves;
  for (const auto& input : inputs) leaves.push_back(input.detach().set_requires_grad(input.requires_grad()));
  return leaves;
}

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const CheckpointedWork& work,
                            at::TensorList inputs) {
    context->save_for_backward(inputs.vec());
    context->saved_data[kWork] = c10::IValue::make_capsule(c10::make_intrusive<Held>(work));
    // With a graph, though it is dropped at once: layers choose other kernels without one, and both passes must give
    // the same numbers.
    const at::AutoGradMode graph(true);
    return work(leaves_of(inputs)).detach();
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto held = c10::static_intrusive_pointer_cast<Held>(context->saved_data[kWork].toCapsule());
    const auto leaves = leaves_of(context->get_saved_variables());
    {
      const at::AutoGradMode graph(true);
      const auto again = held->work(leaves);
      if (again.requires_grad()) again.backward(gradients.front());
    }
    std::vector<at::Tensor> out{at::Tensor()};  // of `work`
    for (const auto& leaf : leaves) out.push_back(leaf.grad());
    return out;
  }
};

}  // namespace

at::Tensor checkpoint(const CheckpointedWork& work, std::vector<at::Tensor> inputs) {
  // Leaves inside the work alone would not make its result a part of the graph.
  if (std::none_of(inputs.begin(), inputs.end(), [](const at::Tensor& input) { return input.requires_grad(); })) {
    inputs.push_back(at::empty({0}).set_requires_grad(true));
  }
  return Checkpoint::apply(work, at::TensorList(inputs));  // of a vector, apply would not see the tensors
}

}  // namespace diffmine
