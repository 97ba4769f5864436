// Weights without a file: random values for any name and shape that a model asks for.
#pragma once
#include <cstdint>

#include "weights/weight_store.h"

namespace diffmine {

// For benchmarks: a full model in memory, scaled so that activations stay of order one.
WeightStore synthetic_weights(uint64_t seed);

// Initial weights of a training from scratch, a pure function of (seed, name, shape): weights normal with deviation 1 /
// sqrt(fan in), norms 1, biases 0, and 0 for what ends a residual branch or the network, so that a block at first
// passes its input on (Dhariwal and Nichol 2021, as in their code); likewise for low-rank updates, which at first
// change nothing.
WeightStore initial_weights(uint64_t seed);

}  // namespace diffmine
