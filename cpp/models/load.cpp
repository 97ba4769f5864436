#include "models/load.h"

#include "core/cpu_allocator.h"
#include "models/unet_graph.h"
#include "weights/lora.h"
#include "weights/random.h"

namespace diffmine {

WeightStore WeightSource::open() const {
  WeightStore store = synthetic ? synthetic_weights(*synthetic)
                      : initial ? initial_weights(*initial)
                                : WeightStore(files);
  if (lora) merge_lora(store, lora->first, lora->second);
  return store;
}

Model load_model(const ModelSource& source, const at::Device& device, at::ScalarType dtype,
                 const EngineOptions& options, const Context& context) {
  const CpuCachingAllocator::Bypass no_cache;  // weights, and what making them frees, have sizes that do not come again
  Model model;
  model.options = options;
  model.schedule = std::make_shared<Schedule>(source.schedule);
  WeightStore unet = source.unet.weights.open();
  std::optional<WeightStore> vae, text_encoder;
  if (source.vae) vae = source.vae->weights.open();
  if (source.text_encoder) text_encoder = source.text_encoder->weights.open();
  const auto count = [](const WeightStore& store) { return static_cast<int64_t>(store.names().size()); };
  const int64_t total = count(unet) + (vae ? count(*vae) : 0) + (text_encoder ? count(*text_encoder) : 0);
  int64_t done = 0;
  const auto loaded = [&](const WeightStore& store, int64_t held) {
    model.weight_bytes += held;
    context.report("load", done += count(store), total);
    context.check_cancelled();
  };
  context.report("load", 0, total);
  UNetOptions unet_options;
  unet_options.engine = options;
  model.unet = std::make_shared<UNet>(source.unet.config, unet, device, dtype, context, unet_options);
  loaded(unet, model.unet->weight_bytes());
  if (vae) {
    model.vae = std::make_shared<Vae>(source.vae->config, *vae, device, context, options, dtype);
    loaded(*vae, static_cast<int64_t>(vae->bytes()));
  }
  if (text_encoder) {
    model.text_encoder =
        std::make_shared<TextEncoder>(source.text_encoder->config, *text_encoder, device, context, options);
    loaded(*text_encoder, static_cast<int64_t>(text_encoder->bytes()));
  }
  if (device.is_cuda() && options.graphs) model.graphs = std::make_shared<UNetGraphs>(model.unet);
  return model;
}

}  // namespace diffmine
