// What a device can do at best: utilization is measured speed divided by this.
#pragma once
#include <ATen/core/Tensor.h>

#include "core/context.h"

namespace diffmine {

struct MachineRates {
  double matmul = 0;  // operations (2 x multiply-adds) per second of a large matmul
  double copy = 0;    // bytes a second, read and written, of a copy larger than any cache
  int threads = 0;    // OpenMP's, of the calling thread
};

// Medians of runs that take about `seconds` each. Products of 8192^3 on a GPU, and on a CPU of 1024^3 or what then
// takes 20 ms (less where memory is short), of random numbers in `dtype`: a card clocks higher on zeros.
MachineRates machine_rates(const at::Device& device, at::ScalarType dtype, double seconds, const Context& context = {});

}  // namespace diffmine
