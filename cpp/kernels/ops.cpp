// Dispatch of the kernels: allocates, checks what a kernel takes for granted, and picks the CUDA launcher or the CPU
// implementation.
#include "kernels/ops.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <vector>

#ifdef DIFFMINE_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "core/error.h"
#include "kernels/add.h"
#include "kernels/conv_out.h"
#include "kernels/geglu.h"
#include "kernels/group_norm.h"
#include "kernels/layer_norm.h"
#include "kernels/loss_difference.h"
#include "kernels/noising.h"
#include "kernels/running_mean.h"
#include "kernels/select.h"

namespace diffmine::ops {
namespace {

// Both implementations of a kernel have the same signature; without CUDA both names are the CPU one.
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
  if (!where.is_cpu())
    throw Error(code::kDeviceUnavailable, "This build of diffmine has no kernels for " + where.device().str() + ".");
  on_cpu(args..., nullptr);
}

Dtype dtype_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return Dtype::kFloat32;
    case at::kHalf: return Dtype::kFloat16;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: throw Error(code::kInternal, std::string("A UNet cannot compute in ") + c10::toString(dtype) + ".");
  }
}

void expect(bool fits, const char* what) {
  if (!fits) throw Error(code::kInternal, std::string("Shapes do not fit in ") + what + ".");
}

at::Tensor fp32(const at::Tensor& t) { return t.defined() ? t.to(at::kFloat).contiguous() : t; }

const float* floats(const at::Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }

// So many neighboring rows of a batch share one of `rows`.
int64_t sharing(int64_t batch, int64_t rows, const char* what) {
  expect(rows > 0 ? batch % rows == 0 : batch == 0, what);
  return rows > 0 ? std::max<int64_t>(1, batch / rows) : 1;
}

}  // namespace

// --- layers ---

at::Tensor group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups, double eps,
                      const GroupNormOptions& options) {
  const auto& [silu, scale, shift, add, beside] = options;
  expect(x.dim() == 4, "group_norm");
  const int64_t channels = x.size(1) + (beside.defined() && beside.dim() == 4 ? beside.size(1) : 0);
  const auto per_image = [&](const at::Tensor& v) {
    return !v.defined() || (v.dim() > 0 && v.numel() == v.size(0) * channels);
  };
  expect(groups > 0 && channels % groups == 0 && weight.numel() == channels && bias.numel() == channels &&
             scale.defined() == shift.defined() && per_image(scale) && per_image(add) &&
             (!scale.defined() || shift.numel() == scale.numel()) &&
             (!beside.defined() ||
              (beside.dim() == 4 && beside.size(0) == x.size(0) && beside.sizes().slice(2) == x.sizes().slice(2) &&
               beside.scalar_type() == x.scalar_type())),
         "group_norm");
  const auto last = [](const at::Tensor& t) { return t.defined() ? t.contiguous(at::MemoryFormat::ChannelsLast) : t; };
  const auto in = last(x), second = last(beside), weights = fp32(weight), biases = fp32(bias), scales = fp32(scale),
             shifts = fp32(shift), adds = fp32(add);
  const auto shared = [&](const at::Tensor& v) {
    return v.defined() ? sharing(x.size(0), v.size(0), "group_norm") : 1;
  };
  const GroupNormShape shape{x.size(0),     x.size(2) * x.size(3), channels, groups, x.size(1),
                             shared(scale), shared(add),           eps,      silu,   dtype_of(x.scalar_type())};
  const int64_t sizes[] = {x.size(0), channels, x.size(2), x.size(3)};
  auto out = at::empty(sizes, x.options(), at::MemoryFormat::ChannelsLast);
  if (out.numel() == 0) return out;
  at::Tensor scratch;
  if (x.is_cuda()) scratch = at::empty({group_norm_scratch(shape)}, x.options().dtype(at::kFloat));
  const GroupNormInputs inputs{in.const_data_ptr(), second.defined() ? second.const_data_ptr() : nullptr,
                               floats(weights),     floats(biases),
                               floats(scales),      floats(shifts),
                               floats(adds)};
  run(DIFFMINE_KERNEL(group_norm), out, out.data_ptr(), inputs, scratch.defined() ? scratch.data_ptr<float>() : nullptr,
      shape);
  return out;
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps,
                      const at::Tensor& add) {
  expect(x.dim() > 0 && weight.numel() == x.size(-1) && bias.numel() == x.size(-1) &&
             (!add.defined() || add.numel() == x.size(-1)),
         "layer_norm");
  const auto in = x.contiguous(), weights = fp32(weight), biases = fp32(bias), adds = fp32(add);
  auto out = at::empty(x.sizes(), x.options());
  if (out.numel() == 0) return out;
  run(DIFFMINE_KERNEL(layer_norm), out, out.data_ptr(), in.const_data_ptr(), dtype_of(x.scalar_type()), floats(weights),
      floats(biases), floats(adds), x.numel() / x.size(-1), x.size(-1), eps);
  return out;
}

at::Tensor geglu(const at::Tensor& x) {
  expect(x.dim() > 0 && x.size(-1) % 2 == 0, "geglu");
  const auto in = x.contiguous();
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape.back() /= 2;
  auto out = at::empty(shape, x.options());
  if (out.numel() == 0) return out;
  run(DIFFMINE_KERNEL(geglu), out, out.data_ptr(), in.const_data_ptr(), dtype_of(x.scalar_type()),
      x.numel() / x.size(-1), shape.back());
  return out;
}

at::Tensor conv_out_weight(const at::Tensor& weight) {
  const int64_t outputs = weight.size(0), channels = weight.size(1),
                padded = (outputs + kConvOutGroup - 1) / kConvOutGroup * kConvOutGroup;
  const auto all = at::constant_pad_nd(weight, {0, 0, 0, 0, 0, 0, 0, padded - outputs});  // [padded, C, 3, 3]
  return fp32(all.view({padded / kConvOutGroup, kConvOutGroup, channels, 9}).permute({0, 3, 2, 1}));
}

at::Tensor conv_out(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t outputs = bias.numel(), groups = (outputs + kConvOutGroup - 1) / kConvOutGroup;
  expect(x.dim() == 4 && weight.dim() == 4 && weight.size(0) == groups && weight.size(1) == 9 &&
             weight.size(2) == x.size(1) && weight.size(3) == kConvOutGroup,
         "conv_out");
  const auto in = x.contiguous(at::MemoryFormat::ChannelsLast), weights = fp32(weight), biases = fp32(bias);
  const int64_t sizes[] = {x.size(0), outputs, x.size(2), x.size(3)};
  auto out = at::empty(sizes, x.options().dtype(at::kFloat), at::MemoryFormat::ChannelsLast);
  if (out.numel() == 0) return out;
  const ConvOutShape shape{x.size(0), x.size(2), x.size(3), x.size(1), outputs, dtype_of(x.scalar_type())};
  run(DIFFMINE_KERNEL(conv_out), out, out.data_ptr<float>(), in.const_data_ptr(), floats(weights), floats(biases),
      shape);
  return out;
}

namespace {

// As [B, P, C]: channels_last images, or contiguous rows of channels.
AddShape added(const at::Tensor& x, const char* what) {
  const bool image = x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  expect(x.dim() > 0 && (image || x.is_contiguous()), what);
  const int64_t channels = x.size(image ? 1 : -1), batch = x.dim() > 1 ? x.size(0) : 1;
  return {batch, x.numel() == 0 ? 0 : x.numel() / (batch * channels), channels, 1, 1, dtype_of(x.scalar_type())};
}

}  // namespace

at::Tensor add_channels_(at::Tensor x, const at::Tensor& v) {
  expect(x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast) && v.dim() >= 2 &&
             v.numel() == v.size(0) * x.size(1),
         "add_channels_");
  AddShape shape = added(x, "add_channels_");
  shape.vector_sharing = sharing(x.size(0), v.size(0), "add_channels_");
  if (x.numel() == 0) return x;
  const auto vectors = fp32(v);
  run(DIFFMINE_KERNEL(add), x, x.data_ptr(), static_cast<const void*>(nullptr), floats(vectors), shape);
  return x;
}

at::Tensor add_residual_(at::Tensor x, const at::Tensor& residual, const std::optional<at::Tensor>& bias) {
  AddShape shape = added(x, "add_residual_");
  expect(residual.dim() == x.dim() && residual.sizes().slice(1) == x.sizes().slice(1) &&
             residual.scalar_type() == x.scalar_type() && (!bias || bias->numel() == shape.channels) &&
             (!bias || x.dim() != 4 || x.is_contiguous(at::MemoryFormat::ChannelsLast)),
         "add_residual_");
  shape.residual_sharing = sharing(x.size(0), residual.size(0), "add_residual_");
  shape.vector_sharing = std::max<int64_t>(1, shape.batch);
  if (x.numel() == 0) return x;
  const bool image = x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  const auto addend = image ? residual.contiguous(at::MemoryFormat::ChannelsLast) : residual.contiguous();
  const auto vector = bias ? fp32(*bias) : at::Tensor();
  run(DIFFMINE_KERNEL(add), x, x.data_ptr(), addend.const_data_ptr(), floats(vector), shape);
  return x;
}

// --- scoring ---

at::Tensor add_noise(const at::Tensor& x, const at::Tensor& noise, const at::Tensor& a, const at::Tensor& s,
                     at::ScalarType dtype) {
  expect(x.dim() == 4 && noise.sizes() == x.sizes() && a.numel() == x.size(0) && s.numel() == x.size(0), "add_noise");
  const auto xs = fp32(x), noises = fp32(noise), as = fp32(a), ss = fp32(s);
  auto out = at::empty(x.sizes(), x.options().dtype(dtype), at::MemoryFormat::ChannelsLast);
  run(DIFFMINE_KERNEL(add_noise), out, out.data_ptr(), dtype_of(dtype), xs.const_data_ptr<float>(),
      noises.const_data_ptr<float>(), as.const_data_ptr<float>(), ss.const_data_ptr<float>(), x.size(0), x.size(1),
      x.size(2) * x.size(3));
  return out;
}

void update_mean(const at::Tensor& samples, int64_t count, at::Tensor& mean) {
  expect(samples.dim() > 0 && samples.sizes().slice(1) == mean.sizes(), "update_mean");
  const auto s = fp32(samples);
  run(DIFFMINE_KERNEL(update_mean), s, s.const_data_ptr<float>(), s.size(0), mean.numel(), count,
      mean.data_ptr<float>());
}

std::pair<at::Tensor, at::Tensor> draw_and_add_noise(const at::Tensor& latents, const at::Tensor& image,
                                                     const at::Tensor& sample, const at::Tensor& a, const at::Tensor& s,
                                                     uint64_t seed, uint32_t stream_word, at::ScalarType dtype) {
  const int64_t rows = image.numel();
  expect(latents.dim() == 4 && (latents.size(0) > 0 || rows == 0) && sample.numel() == rows && a.numel() == rows &&
             s.numel() == rows && image.scalar_type() == at::kLong && sample.scalar_type() == at::kLong,
         "draw_and_add_noise");
  const auto from = fp32(latents), as = fp32(a), ss = fp32(s);
  const auto images = image.contiguous(), samples = sample.contiguous();
  const int64_t shape[] = {rows, latents.size(1), latents.size(2), latents.size(3)};
  auto out = at::empty(shape, from.options().dtype(dtype), at::MemoryFormat::ChannelsLast),
       noise = at::empty(shape, from.options());
  run(DIFFMINE_KERNEL(draw_and_add_noise), out, out.data_ptr(), dtype_of(dtype), noise.data_ptr<float>(), floats(from),
      images.const_data_ptr<int64_t>(), samples.const_data_ptr<int64_t>(), floats(as), floats(ss), rows, shape[1],
      shape[2] * shape[3], seed, stream_word);
  return {std::move(out), std::move(noise)};
}

void loss_difference(const at::Tensor& e, const at::Tensor& x, const at::Tensor& noise, const at::Tensor& target_x,
                     const at::Tensor& target_noise, const at::Tensor& scale, const at::Tensor& subject,
                     const at::Tensor& weight, int64_t fold, int64_t count, at::Tensor& mean, at::Tensor differences,
                     Loss loss) {
  expect(e.dim() == 4 && x.dim() == 3 && noise.dim() == 4 && weight.dim() == 2 && e.sizes().slice(1) == x.sizes() &&
             noise.sizes().slice(1) == x.sizes(),
         "loss_difference");
  const int64_t n = noise.size(0), outputs = weight.size(0), conditions = weight.size(1), plane = x.size(1) * x.size(2);
  const int64_t map[] = {outputs, x.size(1) * fold, x.size(2) * fold};
  expect(e.size(0) == n * conditions && target_x.numel() == n && target_noise.numel() == n && scale.numel() == n &&
             subject.numel() == outputs && x.size(0) % (fold * fold) == 0 && mean.sizes() == at::IntArrayRef(map) &&
             mean.is_contiguous() && mean.scalar_type() == at::kFloat,
         "loss_difference");
  // The UNet's output is channels_last: read as it lies.
  const bool last = e.scalar_type() == at::kFloat && e.is_contiguous(at::MemoryFormat::ChannelsLast);
  const auto es = last ? e : fp32(e), xs = fp32(x), noises = fp32(noise), txs = fp32(target_x),
             tns = fp32(target_noise), scales = fp32(scale), weights = fp32(weight);
  const auto subjects = subject.to(at::kLong).contiguous();
  const LossShape shape{n,         conditions, outputs, x.size(0),        x.size(1),
                        x.size(2), fold,       count,   last ? 1 : plane, last ? x.size(0) : 1,
                        loss};
  if (differences.defined()) {
    expect(differences.sizes() == at::IntArrayRef({n, map[0], map[1], map[2]}) && differences.is_contiguous() &&
               differences.scalar_type() == at::kFloat,
           "loss_difference");
  }
  run(DIFFMINE_KERNEL(loss_difference), mean, differences.defined() ? differences.data_ptr<float>() : nullptr,
      mean.data_ptr<float>(), floats(es), floats(xs), floats(noises), floats(txs), floats(tns), floats(scales),
      subjects.const_data_ptr<int64_t>(), floats(weights), shape);
}

namespace {

// scores [..., R, S] in a row of maps, and what is picked of each.
struct Maps {
  at::Tensor scores;
  int64_t maps, rows, columns;
  std::vector<int64_t> picks;  // [..., count]

  Maps(const at::Tensor& all, int64_t count, const char* what) {
    expect(all.dim() >= 2, what);
    scores = fp32(all), rows = all.size(-2), columns = all.size(-1);
    maps = rows * columns == 0 ? 0 : all.numel() / (rows * columns);
    picks.assign(all.sizes().begin(), all.sizes().end() - 2);
    picks.push_back(count);
  }
  // For the kernel to fill; maps without a place have nothing to pick.
  at::Tensor empty() const {
    const auto options = scores.options().dtype(at::kLong);
    return maps > 0 ? at::empty(picks, options) : at::full(picks, -1, options);
  }
};

}  // namespace

at::Tensor select_patches(const at::Tensor& scores, int64_t patch, int64_t count, bool ascending) {
  const Maps m(scores, count, "select_patches");
  auto picks = m.empty();
  run(DIFFMINE_KERNEL(select_patches), m.scores, floats(m.scores), m.maps, m.rows, m.columns, patch, count, ascending,
      picks.data_ptr<int64_t>());
  return picks;
}

std::pair<at::Tensor, at::Tensor> select_extremes(const at::Tensor& scores, int64_t patch, int64_t count) {
  const Maps m(scores, count, "select_extremes");
  auto top = m.empty(), bottom = m.empty();
  run(DIFFMINE_KERNEL(select_extremes), m.scores, floats(m.scores), m.maps, m.rows, m.columns, patch, count,
      top.data_ptr<int64_t>(), bottom.data_ptr<int64_t>());
  return {std::move(top), std::move(bottom)};
}

}  // namespace diffmine::ops
