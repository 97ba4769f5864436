"""A step of a LoRA training of the tiny transformers in test/data/golden, by peft and PyTorch's autograd; and the same LoRA in files.

    lora.py OUT    OUT is test/data/lora

Writes OUT/KIND.safetensors with the batch, the updates, the loss, its gradients, and the prediction with the updates; of Stable Diffusion 3.5 also
OUT/KIND-diffusers.safetensors as its pipeline saves a LoRA, and OUT/KIND-kohya.safetensors with the names of kohya's scripts.
Needs torch, diffusers, transformers and peft.
"""
import pathlib
import sys

import torch
from diffusers import DiTTransformer2DModel, SD3Transformer2DModel, StableDiffusion3Pipeline
from peft import LoraConfig, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from common import GOLDEN

RANK, ALPHA = 3, 5
PROJECTIONS = ["to_q", "to_k", "to_v", "to_out.0"]
SD3_PROJECTIONS = [*PROJECTIONS, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]  # diffusers' train_dreambooth_lora_sd3.py


def batch(config):
    size = (2, config.in_channels, 6 * config.patch_size, 6 * config.patch_size)
    return torch.randn(size), torch.randn(size), torch.tensor([310, 740]), torch.tensor([1, 0])


def adapt(transformer, modules):
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=modules), transformer)
    for name, parameter in transformer.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn_like(parameter)
    return {name: parameter for name, parameter in transformer.named_parameters() if "lora_" in name}


def stored(name):
    return name.replace(".default", "")


def step(updates, prediction, target):
    loss = (prediction - target).square().mean()
    loss.backward()
    values = {stored(name): parameter.detach() for name, parameter in updates.items()}
    # A projection that nothing reads, of the text in the last block, has no gradient.
    gradients = {f"grad.{stored(name)}": p.grad for name, p in updates.items() if p.grad is not None}
    return {**values, **gradients, "loss": loss.detach(), "prediction": prediction.detach()}


def dit():
    transformer = DiTTransformer2DModel.from_pretrained(GOLDEN / "tiny-dit", subfolder="transformer")
    updates = adapt(transformer, PROJECTIONS)
    x0, noise, t, rows = batch(transformer.config)
    betas = torch.linspace(0.0001, 0.02, 1000)
    alpha = torch.cumprod(1 - betas, 0)[t].view(-1, 1, 1, 1)
    labels = torch.tensor([2, transformer.config.num_embeds_ada_norm])
    prediction = transformer(alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise, t, labels[rows]).sample[:, : transformer.config.in_channels]
    return {"x0": x0, "noise": noise, "t": t, "rows": rows, "labels": labels, **step(updates, prediction, noise)}


def sd3(out):
    transformer = SD3Transformer2DModel.from_pretrained(GOLDEN / "tiny-sd35", subfolder="transformer")
    updates = adapt(transformer, SD3_PROJECTIONS)
    config = transformer.config
    x0, noise, t, rows = batch(config)
    text, pooled = torch.randn(2, 9, config.joint_attention_dim), torch.randn(2, config.pooled_projection_dim)
    sigma = (t / 1000).view(-1, 1, 1, 1)
    prediction = transformer((1 - sigma) * x0 + sigma * noise, text[rows], pooled[rows], t).sample
    made = {"x0": x0, "noise": noise, "t": t, "rows": rows, "text": text, "pooled": pooled, **step(updates, prediction, noise - x0)}
    layers = get_peft_model_state_dict(transformer)
    # alpha is in the metadata of the file
    metadata = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=SD3_PROJECTIONS).to_dict()
    metadata = {key: sorted(value) if isinstance(value, set) else value for key, value in metadata.items()}
    StableDiffusion3Pipeline.save_lora_weights(out, layers, weight_name="sd35-diffusers.safetensors", transformer_lora_adapter_metadata=metadata)
    save_file(kohya(layers), out / "sd35-kohya.safetensors")
    return made


def kohya(layers):
    """Queries, keys and values are one module there, so that they share one A: here each has its own, in a rank of three times as many."""
    found = {}

    def pair(module, names):
        downs = [layers[f"{name}.lora_A.weight"] for name in names]
        ups = [layers[f"{name}.lora_B.weight"] for name in names]
        found[f"lora_unet_{module}.lora_down.weight"] = torch.cat(downs).contiguous()
        found[f"lora_unet_{module}.lora_up.weight"] = torch.block_diag(*ups).contiguous()
        found[f"lora_unet_{module}.alpha"] = torch.tensor(float(ALPHA * len(names)))

    for block in range(100):
        at, to = f"transformer_blocks.{block}.", f"joint_blocks_{block}_"
        if f"{at}attn.to_q.lora_A.weight" not in layers:
            return found
        pair(f"{to}x_block_attn_qkv", [f"{at}attn.to_{p}" for p in "qkv"])
        pair(f"{to}x_block_attn_proj", [f"{at}attn.to_out.0"])
        pair(f"{to}context_block_attn_qkv", [f"{at}attn.add_{p}_proj" for p in "qkv"])
        if f"{at}attn.to_add_out.lora_A.weight" in layers:
            pair(f"{to}context_block_attn_proj", [f"{at}attn.to_add_out"])
        if f"{at}attn2.to_q.lora_A.weight" in layers:
            pair(f"{to}x_block_attn2_qkv", [f"{at}attn2.to_{p}" for p in "qkv"])
            pair(f"{to}x_block_attn2_proj", [f"{at}attn2.to_out.0"])


out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(11)
for kind, tensors in (("dit", dit()), ("sd35", sd3(out))):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / f"{kind}.safetensors")
