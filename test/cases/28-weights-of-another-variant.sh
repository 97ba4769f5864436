#!/usr/bin/env bash
# Public report: genmoai/mochi issue 119 (bf16), huggingface/diffusers 10928 (variants and "no file named diffusion_pytorch_model")
# Expected: unet/ holds diffusion_pytorch_model.non_ema.safetensors (or .bf16.) only: the message must name the file that is there.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.png" 1
for v in non_ema bf16; do rm -rf "$T/m"; cp -r "$M" "$T/m"; mv "$T/m/unet/diffusion_pytorch_model.safetensors" "$T/m/unet/diffusion_pytorch_model.$v.safetensors"
dm inspect "$T/m" > "$T/o" 2>&1 && continue; grep -q "$v" "$T/o" || bad "$v: $(tr '\n' ' ' < "$T/o")"
dm scan "$T/d" --model "$T/m" --variant $v --out "$T/r$v" $Q > "$T/o" 2>&1 || bad "--variant $v: $(tr '\n' ' ' < "$T/o")"
dm mine "$T/r$v" --clusters 1 --top 2 --ensemble 1 > "$T/o" 2>&1 || bad "mine forgets --variant $v: $(tr '\n' ' ' < "$T/o")"; done
ok "read or named"
