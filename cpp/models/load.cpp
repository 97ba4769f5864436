#include "models/load.h"

#include <type_traits>

#include "core/cpu_allocator.h"
#include "models/denoiser_graph.h"
#include "weights/lora.h"
#include "weights/random.h"

namespace diffmine {

WeightStore WeightSource::open() const {
  WeightStore store = synthetic         ? synthetic_weights(*synthetic)
                      : initial         ? initial_weights(*initial)
                      : tensors.empty() ? WeightStore(files)
                                        : renamed_weights(files, tensors);
  if (!updates.empty()) merge_updates(store, updates);
  if (lora) merge_lora(store, lora->first, lora->second);
  return store;
}

std::shared_ptr<Denoiser> load_denoiser(const DenoiserConfig& config, WeightStore& weights, const at::Device& device,
                                        at::ScalarType dtype, const Context& context, const DenoiserOptions& options) {
  return std::visit(
      [&](const auto& of_kind) -> std::shared_ptr<Denoiser> {
        using Config = std::decay_t<decltype(of_kind)>;
        using Kind = std::conditional_t<std::is_same_v<Config, UNetConfig>, UNet,
                                        std::conditional_t<std::is_same_v<Config, DiTConfig>, DiT, Sd3>>;
        return std::make_shared<Kind>(of_kind, weights, device, dtype, context, options);
      },
      config);
}

Model load_model(const ModelSource& source, const at::Device& device, at::ScalarType dtype,
                 const EngineOptions& options, const Context& context) {
  const CpuCachingAllocator::Bypass no_cache;  // weights, and what making them frees, have sizes that do not come again
  Model model;
  model.options = options;
  model.schedule = std::make_shared<Schedule>(source.schedule);
  WeightStore denoiser = source.denoiser.weights.open();
  std::optional<WeightStore> vae;
  if (source.vae) vae = source.vae->weights.open();
  std::vector<WeightStore> text_encoders;
  for (const auto& part : source.text_encoders) text_encoders.push_back(part.weights.open());
  std::optional<WeightStore> t5;
  if (source.t5) t5 = source.t5->weights.open();
  const auto count = [](const WeightStore& store) { return static_cast<int64_t>(store.names().size()); };
  int64_t total = count(denoiser) + (vae ? count(*vae) : 0);
  for (const auto& store : text_encoders) total += count(store);
  int64_t done = 0;
  const auto loaded = [&](const WeightStore& store, int64_t held) {
    model.weight_bytes += held;
    context.report("load", done += count(store), total);
    context.check_cancelled();
  };
  context.report("load", 0, total);
  DenoiserOptions denoiser_options;
  denoiser_options.engine = options;
  model.denoiser = load_denoiser(source.denoiser.config, denoiser, device, dtype, context, denoiser_options);
  loaded(denoiser, model.denoiser->weight_bytes());
  if (vae) {
    model.vae = std::make_shared<Vae>(source.vae->config, *vae, device, context, options, dtype);
    loaded(*vae, static_cast<int64_t>(vae->bytes()));
  }
  for (size_t i = 0; i < text_encoders.size(); ++i) {
    const auto& made = model.text_encoders.emplace_back(
        std::make_shared<TextEncoder>(source.text_encoders[i].config, text_encoders[i], device, context, options));
    loaded(text_encoders[i], made->weight_bytes());
  }
  if (t5) model.t5 = std::make_shared<T5Encoder>(source.t5->config, *t5, device);  // holds no copies
  if (device.is_cuda() && options.graphs) model.graphs = std::make_shared<DenoiserGraphs>(model.denoiser);
  return model;
}

}  // namespace diffmine
