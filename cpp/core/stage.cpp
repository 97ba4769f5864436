#include "core/stage.h"

#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <nvtx3/nvToolsExt.h>
#endif

#include "core/error.h"

namespace diffmine {
namespace {

thread_local StageTimes* current = nullptr;

}  // namespace

void synchronize(const c10::Device& device) {
#ifdef DIFFMINE_CUDA
  if (device.is_cuda()) {
    const c10::cuda::OptionalCUDAGuard guard(device);
    c10::cuda::device_synchronize();
  }
#else
  (void)device;
#endif
}

StageTimes::StageTimes(const c10::Device& device) : device_(device), outer_(current) { current = this; }
StageTimes::~StageTimes() { current = outer_; }

Stage::Stage(const char* name) : name_(name) {
#ifdef DIFFMINE_CUDA
  nvtxRangePushA(name);
#endif
  if (!current || current->inside_) return;
  synchronize(current->device_);
  times_ = current;
  times_->inside_ = true;
  begin_ = std::chrono::steady_clock::now();
}

Stage::~Stage() {
  if (times_) {
    try {
      synchronize(times_->device_);
      times_->seconds_[name_] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    } catch (...) {
      // The device has failed, as the work that waits for it will say; a destructor throws nothing.
    }
    times_->inside_ = false;
  }
#ifdef DIFFMINE_CUDA
  nvtxRangePop();
#endif
}

}  // namespace diffmine
