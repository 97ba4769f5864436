// Dispatch of the kernels: allocates, checks what a kernel takes for granted, and picks launcher or twin.
#include "kernels/ops.h"

#include <ATen/ops/empty.h>
#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "core/error.h"
#include "kernels/loss_difference.h"
#include "kernels/moments.h"
#include "kernels/noising.h"
#include "kernels/select.h"

namespace diffmine::ops {
namespace {

// A kernel's two forms have one signature; without CUDA both are the twin.
#ifdef DIFFMINE_CUDA
#define DIFFMINE_KERNEL(name) launch_##name, name##_cpu
#else
#define DIFFMINE_KERNEL(name) name##_cpu, name##_cpu
#endif

template <class F, class... Args>
void run(F* on_gpu, F* on_cpu, const at::Tensor& where, Args... args) {
#ifdef DIFFMINE_CUDA
  if (where.is_cuda()) {
    const c10::cuda::CUDAGuard guard(where.device());
    return on_gpu(args..., c10::cuda::getCurrentCUDAStream(where.device().index()).stream());
  }
#else
  (void)on_gpu;
#endif
  if (!where.is_cpu()) throw Error(code::kDeviceUnavailable, "This build of diffmine has no kernels for " + where.device().str() + ".");
  on_cpu(args..., nullptr);
}

Element element_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return Element::kFloat32;
    case at::kHalf: return Element::kFloat16;
    case at::kBFloat16: return Element::kBFloat16;
    default: throw Error(code::kInternal, std::string("No UNet computes in ") + c10::toString(dtype) + ".");
  }
}

void expect(bool fits, const char* what) {
  if (!fits) throw Error(code::kInternal, std::string("Shapes do not fit in ") + what + ".");
}

at::Tensor fp32(const at::Tensor& t) { return t.to(at::kFloat).contiguous(); }

}  // namespace

at::Tensor add_noise(const at::Tensor& x, const at::Tensor& noise, const at::Tensor& a, const at::Tensor& s, at::ScalarType dtype) {
  expect(x.dim() == 4 && noise.sizes() == x.sizes() && a.numel() == x.size(0) && s.numel() == x.size(0), "add_noise");
  const auto xs = fp32(x), noises = fp32(noise), as = fp32(a), ss = fp32(s);
  auto out = at::empty(x.sizes(), x.options().dtype(dtype), at::MemoryFormat::ChannelsLast);
  run(DIFFMINE_KERNEL(add_noise), out, out.data_ptr(), element_of(dtype), xs.const_data_ptr<float>(), noises.const_data_ptr<float>(),
      as.const_data_ptr<float>(), ss.const_data_ptr<float>(), x.size(0), x.size(1), x.size(2) * x.size(3));
  return out;
}

at::Tensor loss_difference(const at::Tensor& e, const at::Tensor& x, const at::Tensor& noise, const at::Tensor& target_x,
                           const at::Tensor& target_noise, const at::Tensor& subject, const at::Tensor& weight, int64_t fold) {
  const int64_t rows = x.size(0), outputs = weight.size(1), conditions = weight.size(2);
  const LossShape shape{rows, conditions, outputs, x.size(1), x.size(2), x.size(3), fold};
  expect(e.numel() == x.numel() * conditions && noise.sizes() == x.sizes() && target_x.numel() == rows && target_noise.numel() == rows &&
             subject.numel() == rows * outputs && weight.size(0) == rows && x.size(1) % (fold * fold) == 0,
         "loss_difference");
  const auto es = fp32(e), xs = fp32(x), noises = fp32(noise), txs = fp32(target_x), tns = fp32(target_noise), weights = fp32(weight);
  const auto subjects = subject.to(at::kLong).contiguous();
  auto out = at::empty({rows, outputs, x.size(2) * fold, x.size(3) * fold}, xs.options());
  run(DIFFMINE_KERNEL(loss_difference), out, out.data_ptr<float>(), es.const_data_ptr<float>(), xs.const_data_ptr<float>(),
      noises.const_data_ptr<float>(), txs.const_data_ptr<float>(), tns.const_data_ptr<float>(), subjects.const_data_ptr<int64_t>(),
      weights.const_data_ptr<float>(), shape);
  return out;
}

void update_moments(const at::Tensor& samples, int64_t count, at::Tensor& mean, at::Tensor& m2) {
  expect(samples.dim() > 0 && samples.sizes().slice(1) == mean.sizes() && mean.sizes() == m2.sizes(), "update_moments");
  const auto s = fp32(samples);
  run(DIFFMINE_KERNEL(update_moments), s, s.const_data_ptr<float>(), s.size(0), mean.numel(), count, mean.data_ptr<float>(),
      m2.data_ptr<float>());
}

at::Tensor select_patches(const at::Tensor& scores, int64_t patch, int64_t count, bool ascending) {
  expect(scores.dim() >= 2, "select_patches");
  const auto s = fp32(scores);
  const int64_t rows = s.size(-2), columns = s.size(-1), maps = rows * columns == 0 ? 0 : s.numel() / (rows * columns);
  std::vector<int64_t> shape(s.sizes().begin(), s.sizes().end() - 2);
  shape.push_back(count);
  auto picks = at::empty(shape, s.options().dtype(at::kLong));
  run(DIFFMINE_KERNEL(select_patches), s, s.const_data_ptr<float>(), maps, rows, columns, patch, count, ascending, picks.data_ptr<int64_t>());
  return picks;
}

}  // namespace diffmine::ops
