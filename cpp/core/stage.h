// Stages of the work: ranges by name in Nsight, and their seconds where somebody asks.
//
//   const Stage stage("unet");        from here to the end of the scope
//
// Names: encode, noise, unet, score, select, features, cluster. Ranges are NVTX's (CUDA builds; nothing happens without
// a profiler).
#pragma once
#include <c10/core/Device.h>

#include <chrono>
#include <map>
#include <string>

namespace diffmine {

// Adds up the seconds of this thread's stages while it exists. Each stage then begins and ends with an idle device:
// the sum is the time of work done one thing after the other, which is more than the same work takes untimed on a GPU.
class StageTimes {
 public:
  explicit StageTimes(const c10::Device& device);
  ~StageTimes();
  StageTimes(const StageTimes&) = delete;
  StageTimes& operator=(const StageTimes&) = delete;

  const std::map<std::string, double>& seconds() const { return seconds_; }

 private:
  friend class Stage;
  const c10::Device device_;
  StageTimes* const outer_;  // what was timed before, and will be again
  bool inside_ = false;      // a stage within a stage belongs to the outer one
  std::map<std::string, double> seconds_;
};

class Stage {
 public:
  explicit Stage(const char* name);  // a literal
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

 private:
  const char* name_;
  StageTimes* times_ = nullptr;  // null: not timed
  std::chrono::steady_clock::time_point begin_;
};

// Waits until the device has done all that was asked of it; nothing on a CPU.
void synchronize(const c10::Device& device);

}  // namespace diffmine
