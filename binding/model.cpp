// Engines and the model they hold.
#include "model.h"

#include "calls.h"
#include "core/device_memory.h"
#include "core/device_options.h"
#include "engine.h"
#include "sampling.h"
#include "task.h"

namespace diffmine::binding {
namespace {

constexpr int64_t kManyThreads = 4096;
constexpr double kLongIdle = 86400;

UNetConfig unet_config(const Arg& arg) {
  UNetConfig c;
  c.in_channels = arg["inChannels"].integer(1);
  c.out_channels = arg["outChannels"].integer(1);
  c.block_out_channels = arg["blockOutChannels"].integers(1);
  c.down_block_types = arg["downBlockTypes"].strings();
  c.up_block_types = arg["upBlockTypes"].strings();
  c.mid_block_type = arg["midBlockType"].string();
  c.layers_per_block = arg["layersPerBlock"].integer(1);
  c.attention_head_dim = arg["attentionHeadDim"].integers(1);
  c.transformer_layers = arg["transformerLayers"].integers(1);
  c.cross_attention_dim = arg["crossAttentionDim"].integer(1);
  c.norm_num_groups = arg["normNumGroups"].integer(1);
  c.norm_eps = arg["normEps"].number();
  c.use_linear_projection = arg["useLinearProjection"].boolean(false);
  c.upcast_attention = arg["upcastAttention"].boolean(false);
  c.scale_shift = arg["scaleShift"].boolean(false);
  c.num_class_embeds = arg["numClassEmbeds"].integer(0);
  if (const Arg added = arg["addedEmbedding"]; added.present()) {
    c.pooled_dim = added["pooled"].integer(1);
    c.size_embed_dim = added["size"].integer(1);
  }
  c.flip_sin_to_cos = arg["flipSinToCos"].boolean(true);
  c.freq_shift = arg["freqShift"].number();
  c.pixel_fold = arg["pixelFold"].integer(1);
  return c;
}

// What the configs of transformers have in common.
template <class Config>
Config transformer_config(const Arg& arg) {
  Config c;
  c.in_channels = arg["inChannels"].integer(1);
  c.out_channels = arg["outChannels"].integer(1);
  c.num_layers = arg["numLayers"].integer(1);
  c.num_attention_heads = arg["numAttentionHeads"].integer(1);
  c.attention_head_dim = arg["attentionHeadDim"].integer(1);
  c.patch_size = arg["patchSize"].integer(1);
  c.sample_size = arg["sampleSize"].integer(1);
  return c;
}

DiTConfig dit_config(const Arg& arg) {
  auto c = transformer_config<DiTConfig>(arg);
  c.num_classes = arg["numClasses"].integer(1);
  c.attention_bias = arg["attentionBias"].boolean(true);
  c.activation = arg["activation"].string();
  c.norm_eps = arg["normEps"].number();
  c.norm_elementwise_affine = arg["normElementwiseAffine"].boolean(false);
  return c;
}

Sd3Config sd3_config(const Arg& arg) {
  auto c = transformer_config<Sd3Config>(arg);
  c.joint_attention_dim = arg["jointAttentionDim"].integer(1);
  c.pooled_projection_dim = arg["pooledProjectionDim"].integer(1);
  c.pos_embed_max_size = arg["posEmbedMaxSize"].integer(1);
  c.dual_attention_layers = arg["dualAttentionLayers"].integers(0);
  c.qk_norm = arg["qkNorm"].boolean(false);
  return c;
}

DenoiserConfig denoiser_config(const Arg& arg) {
  const auto read = arg["kind"].choice<DenoiserConfig (*)(const Arg&)>({
      {"dit", [](const Arg& a) -> DenoiserConfig { return dit_config(a); }},
      {"sd3", [](const Arg& a) -> DenoiserConfig { return sd3_config(a); }},
  });
  return read(arg);
}

VaeConfig vae_config(const Arg& arg) {
  VaeConfig c;
  c.in_channels = arg["inChannels"].integer(1);
  c.out_channels = arg["outChannels"].integer(1);
  c.latent_channels = arg["latentChannels"].integer(1);
  c.block_out_channels = arg["blockOutChannels"].integers(1);
  c.layers_per_block = arg["layersPerBlock"].integer(1);
  c.norm_num_groups = arg["normNumGroups"].integer(1);
  c.scaling_factor = arg["scalingFactor"].number();
  c.shift_factor = arg["shiftFactor"].number();
  c.use_quant_conv = arg["useQuantConv"].boolean(true);
  c.use_post_quant_conv = arg["usePostQuantConv"].boolean(true);
  c.mid_block_add_attention = arg["midBlockAddAttention"].boolean(true);
  return c;
}

TextEncoderConfig text_encoder_config(const Arg& arg) {
  TextEncoderConfig c;
  c.vocab_size = arg["vocabSize"].integer(1);
  c.hidden_size = arg["hiddenSize"].integer(1);
  c.intermediate_size = arg["intermediateSize"].integer(1);
  c.num_hidden_layers = arg["numHiddenLayers"].integer(1);
  c.num_attention_heads = arg["numAttentionHeads"].integer(1);
  c.max_position_embeddings = arg["maxPositionEmbeddings"].integer(1);
  c.layer_norm_eps = arg["layerNormEps"].number();
  c.hidden_act = arg["hiddenAct"].string();
  c.penultimate = arg["penultimate"].boolean(false);
  if (const Arg projection = arg["projection"]; projection.present()) {
    c.projection_dim = projection["dim"].integer(1);
    c.eos_token_id = projection["eosTokenId"].integer(0);
  }
  return c;
}

T5Config t5_config(const Arg& arg) {
  T5Config c;
  c.vocab_size = arg["vocabSize"].integer(1);
  c.d_model = arg["dModel"].integer(1);
  c.d_kv = arg["dKv"].integer(1);
  c.d_ff = arg["dFf"].integer(1);
  c.num_layers = arg["numLayers"].integer(1);
  c.num_heads = arg["numHeads"].integer(1);
  c.relative_attention_num_buckets = arg["numBuckets"].integer(1);
  c.relative_attention_max_distance = arg["maxDistance"].integer(1);
  c.layer_norm_epsilon = arg["layerNormEps"].number();
  return c;
}

}  // namespace

ModelPart<DenoiserConfig> denoiser_argument(const Arg& source) {
  if (const Arg transformer = source["transformer"]; transformer.present())
    return part_argument<DenoiserConfig>(transformer, denoiser_config);
  return part_argument<DenoiserConfig>(source["unet"],
                                       [](const Arg& config) -> DenoiserConfig { return unet_config(config); });
}

namespace {

ModelSource source_argument(const Arg& arg) {
  ModelSource source{denoiser_argument(arg), {}, {}, {}, schedule_argument(arg["schedule"])};
  if (arg["vae"].present()) source.vae = part_argument(arg["vae"], vae_config);
  if (const Arg encoders = arg["textEncoders"]; encoders.present())
    for (const Arg& encoder : encoders.items())
      source.text_encoders.push_back(part_argument(encoder, text_encoder_config));
  if (const Arg t5 = arg["t5"]; t5.present()) source.t5 = part_argument(t5, t5_config);
  return source;
}

}  // namespace

Napi::Value create_engine(Info info) {
  const Arg options(info[0], "options");
  const at::Device device = parse_device(options["device"].string());
  const at::ScalarType dtype = parse_dtype(options["dtype"].string(), device);
  EngineSettings made{device, dtype, static_cast<int>(options["threads"].integer(1, kManyThreads)), {}};
  if (const Arg disable = options["disable"]; disable.present())
    made.options = EngineOptions::without(disable.strings());
  made.options.tune = options["tune"].boolean(false);
  if (const Arg idle = options["idleSeconds"]; idle.present()) {
    made.idle = std::chrono::duration<double>(idle.number());
    if (made.idle.count() <= 0 || made.idle.count() > kLongIdle) idle.fail("seconds above 0, at most a day");
  }
  return Engine::create(info.Env(), made);
}

Napi::Value dispose_engine(Info info) { return Engine::from({info[0], "engine"})->dispose(); }

Napi::Value engine_memory(Info info) {
  const auto engine = Engine::from({info[0], "engine"});
  Napi::Object result = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, int64_t bytes) {
    result[name] = Napi::Number::New(info.Env(), static_cast<double>(bytes));
  };
  set("weights", engine->weight_bytes());
  set("available", available_memory(engine->device()));
  set("peak", peak_memory(engine->device()));
  set("cached", cached_memory(engine->device()));
  return result;
}

Napi::Value load_model(Info info) {
  const ModelSource source = source_argument({info[1], "source"});
  return Task::start(info, 2, {}, [source](Engine& engine, const Context& context) -> Task::Result {
    if (engine.has_model()) {
      throw Error(code::kInvalidArgument, "The engine already has a model.",
                  "Create another Engine for another model.");
    }
    engine.set_model(diffmine::load_model(source, engine.device(), engine.dtype(), engine.options(), context));
    return [engine = engine.shared_from_this()](Napi::Env env) {
      engine->report_memory();
      return env.Undefined();
    };
  });
}

}  // namespace diffmine::binding
