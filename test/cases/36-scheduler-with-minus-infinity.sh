#!/usr/bin/env bash
# Public report: zqiu24/oft issue 26 and huggingface/diffusers 10738 (lambda_min_clipped is -inf by default); ai-dynamo/dynamo PR 3043, huggingface/transformers PR 42959, paiml/aprender issue 268 (Infinity in config.json)
# Expected: DPMSolverMultistepScheduler and DPMSolverSinglestepScheduler are on the list of supported ones (src/models/configs.ts); diffusers writes their default lambda_min_clipped as -Infinity, which Python reads and JSON.parse does not. Such a folder must open.
. "$(dirname "$0")/lib.sh"

cp -r "$M" "$T/m"
cat > "$T/m/scheduler/scheduler_config.json" <<'JSON'
{
  "_class_name": "DPMSolverMultistepScheduler",
  "_diffusers_version": "0.25.0",
  "algorithm_type": "dpmsolver++",
  "beta_end": 0.012,
  "beta_schedule": "scaled_linear",
  "beta_start": 0.00085,
  "lambda_min_clipped": -Infinity,
  "num_train_timesteps": 1000,
  "prediction_type": "epsilon",
  "set_alpha_to_one": false,
  "solver_order": 2,
  "steps_offset": 1,
  "timestep_spacing": "leading",
  "trained_betas": null
}
JSON
for f in scheduler/scheduler_config.json unet/config.json model_index.json tokenizer/tokenizer_config.json; do printf '\357\273\277' | cat - "$T/m/$f" > "$T/b" && mv "$T/b" "$T/m/$f"; done
dm inspect "$T/m" > "$T/o" 2>&1 && ok "opens"
bad "$(grep -m1 error "$T/o" | cut -c1-250)"
