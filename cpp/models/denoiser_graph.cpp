#include "models/denoiser_graph.h"

#ifdef DIFFMINE_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <exception>
#include <iostream>

#include "core/graph_lock.h"
#include "core/stage.h"
#endif

namespace diffmine {

bool DenoiserGraphs::pays(int64_t rows, int64_t height, int64_t width, int64_t parameters) {
  // Stable Diffusion's UNet does 0.23 operations a cell and parameter (803 G at 64 x 64), at 4e14 a second on a Hopper
  // card; its launches take some 8 ms of the host. Up to 2^45 cells x parameters (20 ms there) a pass is launched as a
  // graph: 10 rows of 64 x 64, 40 of 32 x 32; of a model of 20 million parameters every batch there is.
  return static_cast<double>(rows) * static_cast<double>(height * width) * static_cast<double>(parameters) <= 0x1p45;
}

#ifdef DIFFMINE_CUDA

namespace {

constexpr size_t kMaxCaptures = 4;  // shapes: a full pass, a call's last one, for two sizes of images
constexpr int kSightsBefore = 2;    // passes of a shape before it is captured: one that comes once is not worth it, and
                                    // cuDNN has chosen its algorithms

// The stream must leave capturing, and LibTorch's allocators must stop serving it, though the graph is void. Where CUDA
// calls the capture invalid capture_end stops half way, and allocators would think for ever that one is under way: an
// empty capture in its place lets it come to its end.
void abandon(at::cuda::CUDAGraph& graph, const c10::cuda::CUDAStream& stream) noexcept {
  for (const bool again : {false, true}) {
    try {
      if (again && cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return;
      graph.capture_end();
      return;
    } catch (const std::exception&) {
      static_cast<void>(cudaGetLastError());
    }
  }
}

}  // namespace

struct DenoiserGraphs::Capture {
  std::weak_ptr<const Conditions> conditions;
  const Conditions* key;  // keys and values are captured by address: a graph belongs to its conditions
  int64_t fan_out;
  PixelSize size;
  at::Tensor x, t, index;  // where the graph reads; as long as there is no graph, shapes alone matter
  at::Tensor out;          // where it writes
  int sights = 0;
  std::unique_ptr<at::cuda::CUDAGraph> graph;
};

struct DenoiserGraphs::State {
  explicit State(const at::Device& device)
      : side(c10::cuda::getStreamFromPool(false, device.index())), pool(at::cuda::graph_pool_handle()) {}
  // Capturing needs a stream other than the default one; libraries keep one workspace for it.
  const c10::cuda::CUDAStream side;
  // Shared: graphs run one after the other on one stream, and only their outputs must not overlap. The type's namespace
  // differs between LibTorch versions.
  decltype(at::cuda::graph_pool_handle()) pool;
  bool failed = false;
};

DenoiserGraphs::DenoiserGraphs(std::shared_ptr<const Denoiser> denoiser) : denoiser_(std::move(denoiser)) {
  if (denoiser_->device().is_cuda()) state_ = std::make_unique<State>(denoiser_->device());
}
DenoiserGraphs::~DenoiserGraphs() {
  try {
    clear();
  } catch (const std::exception&) {
    // The device has failed: nothing runs on it.
  }
}

at::Tensor DenoiserGraphs::forward(const at::Tensor& x, const at::Tensor& t,
                                   const std::shared_ptr<const Conditions>& conditions,
                                   const at::Tensor& condition_index, int64_t fan_out, PixelSize size) {
  const auto launch = [&] { return denoiser_->forward(x, t, *conditions, condition_index, fan_out, nullptr, size); };
  const bool usable = state_ && !state_->failed && x.dim() == 4 && x.device() == denoiser_->device() &&
                      t.device() == x.device() && condition_index.device() == x.device();
  if (!usable || !pays(x.size(0) * fan_out, x.size(2), x.size(3), denoiser_->weight_count())) return launch();

  discard([](const Capture& c) { return c.conditions.expired(); });
  auto found = captures_.begin();
  for (; found != captures_.end(); ++found) {
    if (found->key == conditions.get() && found->fan_out == fan_out && found->size == size &&
        found->x.sizes() == x.sizes() && found->x.scalar_type() == x.scalar_type())
      break;
  }
  if (found == captures_.end()) {
    if (captures_.size() == kMaxCaptures) discard([&](const Capture& c) { return &c == &captures_.back(); });
    captures_.push_front({conditions, conditions.get(), fan_out, size, x, t, condition_index, {}, 0, nullptr});
  } else {
    captures_.splice(captures_.begin(), captures_, found);
  }
  Capture& capture = captures_.front();
  if (!capture.graph) {
    if (capture.sights++ < kSightsBefore) return launch();
    try {
      // Buffers of its own, in the layout the denoiser is given.
      capture.x = x.clone(), capture.t = t.clone(), capture.index = condition_index.clone();
      const auto again = [&] {
        return denoiser_->forward(capture.x, capture.t, *conditions, capture.index, fan_out, nullptr, size);
      };
      c10::cuda::getCurrentCUDAStream(x.device().index()).synchronize();
      const c10::cuda::CUDAStreamGuard side(state_->side);
      again();  // what is set up at first use (workspaces, cuDNN's measurements) must not be captured
      state_->side.synchronize();
      {
        // The pass above left its memory to the side stream, which no one else uses.
        const CacheLock lock;
        c10::cuda::CUDACachingAllocator::emptyCache();
      }
      const CaptureLock lock(x.device());
      // LibTorch takes up no pool again that its last graph has left.
      if (std::none_of(captures_.begin(), captures_.end(), [](const Capture& c) { return c.graph != nullptr; }))
        state_->pool = at::cuda::graph_pool_handle();
      auto graph = std::make_unique<at::cuda::CUDAGraph>();
      try {
        graph->capture_begin(state_->pool, cudaStreamCaptureModeThreadLocal);  // other threads may use CUDA meanwhile
        capture.out = again();
        graph->capture_end();
      } catch (...) {
        abandon(*graph, state_->side);
        throw;
      }
      capture.graph = std::move(graph);
    } catch (const std::exception& error) {
      static_cast<void>(cudaGetLastError());
      state_->failed = true;
      clear();
      const std::string what = error.what();
      std::cerr << "CUDA graphs are off: " << what.substr(0, what.find('\n')) << std::endl;
      return launch();
    }
  }
  capture.x.copy_(x), capture.t.copy_(t), capture.index.copy_(condition_index);
  capture.graph->replay();
  return capture.out;
}

void DenoiserGraphs::discard(const std::function<bool(const Capture&)>& which) {
  if (std::none_of(captures_.begin(), captures_.end(), which)) return;
  synchronize(denoiser_->device());  // none of them is running
  captures_.remove_if(which);
}

void DenoiserGraphs::clear() {
  discard([](const Capture&) { return true; });
}

int64_t DenoiserGraphs::captured() const {
  return std::count_if(captures_.begin(), captures_.end(), [](const Capture& c) { return c.graph != nullptr; });
}

#else

struct DenoiserGraphs::Capture {};
struct DenoiserGraphs::State {};
DenoiserGraphs::DenoiserGraphs(std::shared_ptr<const Denoiser> denoiser) : denoiser_(std::move(denoiser)) {}
DenoiserGraphs::~DenoiserGraphs() = default;
void DenoiserGraphs::clear() {}
int64_t DenoiserGraphs::captured() const { return 0; }

at::Tensor DenoiserGraphs::forward(const at::Tensor& x, const at::Tensor& t,
                                   const std::shared_ptr<const Conditions>& conditions,
                                   const at::Tensor& condition_index, int64_t fan_out, PixelSize size) {
  return denoiser_->forward(x, t, *conditions, condition_index, fan_out, nullptr, size);
}

#endif

}  // namespace diffmine
