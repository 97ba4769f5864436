"""A tiny SDXL folder with random weights, and reference values computed with it by diffusers.

    sdxl.py FOLDER [--seed 0] [--like test/data/golden/tiny-sdxl]

Writes FOLDER/sdxl-SEED and FOLDER/sdxl-SEED-golden (diffmine-golden-1), which `diffmine verify FOLDER` computes again. Widths, numbers of heads and
layers, the tokenizer's padding, the end token of the text encoder's config and the sizes of the images follow from the seed.
The tokenizers are those of LIKE. Needs torch, diffusers and transformers.
"""
import argparse
import json
import pathlib
import random
import shutil

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

PROMPTS = ["a photo of Paris", "A HOUSE, 1920's!", "two red doors, ünïcode — and a very long tail " * 6, "", "a photo"]


def text_config(pick, end, act):
    heads = pick([1, 2, 3])
    width = heads * pick([8, 10])
    return CLIPTextConfig(
        vocab_size=640, hidden_size=width, intermediate_size=pick([24, 40]), num_hidden_layers=pick([1, 2, 4]), num_attention_heads=heads,
        hidden_act=act, projection_dim=pick([12, 26]), bos_token_id=0, eos_token_id=end, pad_token_id=1,
    )


def randomized(module, seed):
    """Weights that make every part matter: norms and biases are not ones and zeros."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "embedding" in name:
                parameter.normal_()
    return module.eval()


def make_model(folder, like, seed):
    rng = random.Random(seed)
    pick = rng.choice
    tokenizer = CLIPTokenizer.from_pretrained(like / "tokenizer")
    other = CLIPTokenizer.from_pretrained(like / "tokenizer_2")
    end = pick([2, tokenizer.eos_token_id])
    torch.manual_seed(seed)
    first = randomized(CLIPTextModel(text_config(pick, 2, "quick_gelu")), seed + 1)
    second = randomized(CLIPTextModelWithProjection(text_config(pick, end, pick(["gelu", "quick_gelu"]))), seed + 2)
    levels = pick([2, 3])
    heads = [pick([1, 2, 4]) for _ in range(levels)]
    channels = [8 * pick([1, 2, 3]) * h for h in heads]
    crosses = [pick([True, False]) for _ in range(levels - 1)] + [True]
    size_dim = 2 * pick([3, 4, 8])
    unet = UNet2DConditionModel(
        sample_size=16, block_out_channels=channels, layers_per_block=pick([1, 2]), norm_num_groups=pick([4, 8]),
        down_block_types=["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crosses],
        up_block_types=["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in crosses[::-1]],
        attention_head_dim=heads, transformer_layers_per_block=[pick([1, 2, 3]) for _ in range(levels)],
        cross_attention_dim=first.config.hidden_size + second.config.hidden_size, use_linear_projection=pick([True, False]),
        addition_embed_type="text_time", addition_time_embed_dim=size_dim,
        projection_class_embeddings_input_dim=second.config.projection_dim + 6 * size_dim,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16), layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=32, scaling_factor=0.13025,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, prediction_type=pick(["epsilon", "v_prediction"])
    )
    pipeline = StableDiffusionXLPipeline(
        vae=randomized(vae, seed + 3), text_encoder=first, text_encoder_2=second, tokenizer=tokenizer, tokenizer_2=other,
        unet=randomized(unet, seed + 4), scheduler=scheduler, add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    for name in ["tokenizer", "tokenizer_2"]:  # as they were, whatever this version of transformers writes
        shutil.rmtree(folder / name)
        shutil.copytree(like / name, folder / name)
    return pipeline, rng


class Golden:
    def __init__(self):
        self.tensors, self.cases = {}, []

    def add(self, case, op, params, inputs, outputs, atol, rtol):
        def stored(way, named):
            names = {}
            for name, value in named.items():
                names[name] = value if isinstance(value, str) else f"{case}.{way}.{name}"
                if not isinstance(value, str):
                    self.tensors[names[name]] = value.detach().clone().contiguous()
            return names

        self.cases.append({
            "id": case, "op": op, "params": params, "inputs": stored("in", inputs), "outputs": stored("out", outputs),
            "tolerance": {"atol": atol, "rtol": rtol},
        })

    def write(self, folder, variant):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, folder / "golden.safetensors")
        versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}
        manifest = {"format": "diffmine-golden-1", "file": "golden.safetensors", "variant": variant, "generator": "scripts/golden/sdxl.py"}
        (folder / "manifest.json").write_text(json.dumps({**manifest, "versions": versions, "cases": self.cases}, indent=1))


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--like", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "test/data/golden/tiny-sdxl")
    args = parser.parse_args()
    name = f"sdxl-{args.seed}"
    pipeline, rng = make_model(args.folder / name, args.like, args.seed)
    unet, vae, scheduler = pipeline.unet, pipeline.vae, pipeline.scheduler
    golden = Golden()
    text, _, pooled, _ = pipeline.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    golden.add("text", "sdxl_text", {"prompts": PROMPTS}, {}, {"prompt_embeds": text, "pooled": pooled}, 1e-4, 1e-4)

    torch.manual_seed(args.seed + 5)
    for case in range(3):
        count, height, width = rng.randint(1, 3), rng.randint(5, 14), rng.randint(5, 14)
        x, t = torch.randn(count, 4, height, width), torch.randint(0, 1000, (count,))
        index = torch.randint(0, len(PROMPTS), (count,))
        ids = torch.randint(0, 1200, (count, 6)).float()
        seen = {}
        hooks = [
            block.register_forward_hook(lambda _, __, out, i=i: seen.update({f"up{i}": out.clone()})) for i, block in enumerate(unet.up_blocks)
        ]
        sample = unet(x, t, text[index], added_cond_kwargs={"text_embeds": pooled[index], "time_ids": ids}).sample
        for hook in hooks:
            hook.remove()
        inputs = {"x": x, "t": t, "cond_index": index, "time_ids": ids, "prompt_embeds": "text.out.prompt_embeds", "pooled": "text.out.pooled"}
        golden.add(f"unet_{case}", "sdxl_unet", {}, inputs, {"sample": sample, **seen}, 1e-4, 1e-4)

    null = len(PROMPTS) - 1
    for case in range(2):
        height, width, samples = rng.randint(17, 40), rng.randint(17, 40), 3
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        latent = vae.encode(image[None].float() / 127.5 - 1).latent_dist.mean * vae.config.scaling_factor
        noises, t = torch.randn(samples, *latent.shape[1:]), torch.randint(100, 700, (samples,))
        alpha = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latent + (1 - alpha).sqrt() * noises
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = alpha.sqrt() * noises - (1 - alpha).sqrt() * latent if velocity else noises
        ids = torch.tensor([[height, width, 0, 0, height, width]]).float().expand(samples, -1)
        losses = []
        for k in range(len(PROMPTS)):
            states, vector = text[k].expand(samples, -1, -1), pooled[k].expand(samples, -1)
            out = unet(noisy, t, states, added_cond_kwargs={"text_embeds": vector, "time_ids": ids}).sample
            losses.append((out - target).square().mean(1))
        losses = torch.stack(losses, 1)
        differences = (losses[:, null : null + 1] - losses[:, :null]).mean(0)
        golden.add(
            f"typicality_{case}", "sdxl_typicality", {"prompts": PROMPTS, "null_index": null},
            {"image_u8": image, "noises": noises, "t": t}, {"latent": latent, "losses": losses, "T_map": differences}, 1e-4, 1e-3,
        )
    golden.write(args.folder / f"{name}-golden", name)


main()
