#include "bench/kernel_times.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

namespace diffmine::bench {
namespace {

using torch::autograd::profiler::KinetoEvent;

uint64_t end_of(const KinetoEvent& event) { return event.startNs() + event.durationNs(); }

std::vector<KernelTime> sorted(const std::map<std::string, KernelTime>& by_name) {
  std::vector<KernelTime> rows;
  for (const auto& entry : by_name) rows.push_back(entry.second);
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  return rows;
}

void add(std::map<std::string, KernelTime>& by_name, const std::string& name, double seconds, int64_t calls) {
  KernelTime& row = by_name[name];
  row.name = name;
  row.seconds += seconds;
  row.calls += calls;
}

std::vector<KernelTime> kernels(const std::vector<KinetoEvent>& events) {
  std::map<std::string, KernelTime> by_name;
  for (const auto& event : events) {
    if (event.deviceType() == c10::DeviceType::CUDA)
      add(by_name, event.name(), static_cast<double>(event.durationNs()) * 1e-9, 1);
  }
  return sorted(by_name);
}

// An operator's time is given to it without the operators that it calls: those lie within it, on the same thread.
std::vector<KernelTime> operators(const std::vector<KinetoEvent>& events) {
  std::map<uint64_t, std::vector<const KinetoEvent*>> by_thread;
  for (const auto& event : events) {
    if (event.deviceType() == c10::DeviceType::CPU) by_thread[event.startThreadId()].push_back(&event);
  }
  std::map<std::string, KernelTime> by_name;
  for (auto& entry : by_thread) {
    auto& list = entry.second;
    std::stable_sort(list.begin(), list.end(), [](const auto* a, const auto* b) {
      return std::pair(a->startNs(), end_of(*b)) < std::pair(b->startNs(), end_of(*a));  // the outer one first
    });
    std::vector<const KinetoEvent*> open;
    for (const auto* event : list) {
      while (!open.empty() && end_of(*open.back()) <= event->startNs()) open.pop_back();
      const double seconds = static_cast<double>(event->durationNs()) * 1e-9;
      if (!open.empty()) add(by_name, open.back()->name(), -seconds, 0);
      add(by_name, event->name(), seconds, 1);
      open.push_back(event);
    }
  }
  return sorted(by_name);
}

}  // namespace

KernelTimes kernel_times(const c10::Device& device, const std::function<void()>& work) {
  namespace profiler = torch::autograd::profiler;
  using torch::profiler::impl::ActivityType;
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::set<ActivityType> activities{ActivityType::CPU};
  if (device.is_cuda()) activities.insert(ActivityType::CUDA);
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION});
  KernelTimes times;
  const auto begin = std::chrono::steady_clock::now();
  work();
  times.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto result = profiler::disableProfiler();
  times.kind = "kernels";
  if (device.is_cuda()) times.rows = kernels(result->events());
  if (times.rows.empty()) times.kind = "operators", times.rows = operators(result->events());
  return times;
}

}  // namespace diffmine::bench
