// The addon's exports, by the file that defines them. Signatures and meaning: src/engine/types.ts.
#pragma once
#include <napi.h>

namespace diffmine::binding {

using Info = const Napi::CallbackInfo&;

// device.cpp
Napi::Value build_info(Info);
Napi::Value devices(Info);
Napi::Value machine_rates(Info);
// model.cpp
Napi::Value create_engine(Info);
Napi::Value dispose_engine(Info);
Napi::Value engine_memory(Info);
Napi::Value load_model(Info);
// text_encoder.cpp
Napi::Value encode_text(Info);
Napi::Value encode_t5(Info);
// unet.cpp
Napi::Value prepare_conditions(Info);
Napi::Value unet_forward(Info);
// vae.cpp
Napi::Value vae_encode(Info);
Napi::Value vae_decode(Info);
Napi::Value encode_images(Info);
// schedule.cpp
Napi::Value schedule(Info);
Napi::Value add_noise(Info);
Napi::Value flow_steps(Info);
Napi::Value flow_step(Info);
Napi::Value ddim_timesteps(Info);
Napi::Value ddim_step(Info);
Napi::Value ddim_invert_step(Info);
// noise.cpp
Napi::Value draw_noise(Info);
Napi::Value draw_timesteps(Info);
// typicality.cpp
Napi::Value score_typicality(Info);
Napi::Value patch_scores(Info);
Napi::Value select_patches(Info);
// features.cpp
Napi::Value dift(Info);
// clustering.cpp
Napi::Value kmeans(Info);
// localization.cpp
Napi::Value heat_maps(Info);
// training.cpp
Napi::Value create_trainer(Info);
Napi::Value train_accumulate(Info);
Napi::Value train_update(Info);
Napi::Value evaluate_trainer(Info);
Napi::Value train_predict(Info);
Napi::Value trainer_parameters(Info);
Napi::Value trainer_tensors(Info);
Napi::Value save_trainer(Info);
Napi::Value load_trainer(Info);
Napi::Value export_trainer(Info);
Napi::Value dispose_trainer(Info);
// safetensors.cpp
Napi::Value read_safetensors_header(Info);
Napi::Value read_safetensors(Info);
Napi::Value write_safetensors(Info);

}  // namespace diffmine::binding
