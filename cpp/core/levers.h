// What makes the engine fast, lever by lever. All are on; a thread may leave some out, so that each is measured by itself (diffmine bench --levers).
// None changes what is computed, beyond rounding.
#pragma once
#include <string>
#include <vector>

namespace diffmine {

enum class Lever {
  // asked when a model is loaded
  kGraphs,            // CUDA: small passes launched as graphs (models/unet_graph.h)
  kPrepackedWeights,  // CPU: weights in oneDNN's layouts, else reordered in every call
  kWinograd,          // CPU, fp32: models/winograd_cpu.h, else oneDNN's direct convolution
  kGroupNorm,         // kernels/ops.h, else ATen's operators: GroupNorm with SiLU,
  kLayerNorm,         // LayerNorm,
  kGeglu,             // GEGLU,
  kAdditions,         // and biases, time embeddings and residuals added in one pass with what makes them or with each other
  // asked in every call
  kSharedPrefix,      // what does not see the condition once for all conditions of an input
  kCachedKeys,        // keys and values of the prompts once for all passes; asked when conditions are prepared
  kBlockAttention,    // CPU: models/attention_cpu.h, else LibTorch's
  kCudnnAttention,    // CUDA: cuDNN's attention where LibTorch prefers it, else LibTorch's other kernels
  kHostCache,         // CPU: core/host_cache.h, else malloc
  kPinnedUploads,     // CUDA: copies the host does not wait for
  kEncodeTf32,        // CUDA: the VAE of an engine in reduced precision multiplies in TF32
  kEncodeAhead,       // CUDA: a picture is encoded while the one before it is scored
};

// Whether this thread's engine uses it.
bool uses(Lever lever);

// "group-norm" and so on, in the order above.
const std::vector<std::string>& lever_names();

// In its scope this thread leaves one out besides.
class WithoutLever {
 public:
  explicit WithoutLever(Lever lever);
  ~WithoutLever();
  WithoutLever(const WithoutLever&) = delete;
  WithoutLever& operator=(const WithoutLever&) = delete;

 private:
  const Lever lever_;
  const bool was_used_;
};

// From now on this thread leaves these out, and uses all others. Throws INVALID_ARGUMENT for a name there is not.
void leave_out(const std::vector<std::string>& names);

}  // namespace diffmine
