"""A model folder of Stable Diffusion 1.5's size with random weights, to time whole runs without a download.

    random-model.py FOLDER LIKE

LIKE is a small model folder of the same kind (test/data/golden/tiny-sd15), whose tokenizer and text encoder are taken: the encoder's layers are
widened to 768 with random numbers, because the UNet attends to that many. Weights are stored in fp16: 1.9 GB. Needs torch and diffusers.
"""
import json
import pathlib
import shutil
import sys

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

WIDE, INNER, HEADS = 768, 3072, 12


def main():
    folder, like = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(cross_attention_dim=WIDE, attention_head_dim=8, sample_size=64)
    unet.half().save_pretrained(folder / "unet")
    del unet
    levels = 4
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, norm_num_groups=32, sample_size=512, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
    )
    vae.half().save_pretrained(folder / "vae")
    DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1).save_pretrained(folder / "scheduler")

    shutil.copytree(like / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    (folder / "text_encoder").mkdir(exist_ok=True)
    config = json.loads((like / "text_encoder" / "config.json").read_text())
    sizes = {config["hidden_size"]: WIDE, config["intermediate_size"]: INNER}
    config.update(hidden_size=WIDE, intermediate_size=INNER, num_attention_heads=HEADS, projection_dim=WIDE)
    (folder / "text_encoder" / "config.json").write_text(json.dumps(config, indent=2))
    tensors = load_file(like / "text_encoder" / "model.safetensors")

    def widened(name, tensor):
        if not tensor.is_floating_point():
            return tensor
        shape = [sizes.get(size, size) for size in tensor.shape]
        if "embedding" in name:  # the vocabulary and the positions keep their number, whatever it is
            shape[0] = tensor.shape[0]
        if "norm" in name:
            return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        return torch.randn(shape) * (0.02 if len(shape) > 1 else 0)

    save_file({name: widened(name, tensor).half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}, folder / "text_encoder" / "model.safetensors")
    shutil.copy(like / "model_index.json", folder / "model_index.json")


main()
