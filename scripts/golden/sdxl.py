"""A tiny SDXL folder with random weights, and reference values computed with it by diffusers.

    sdxl.py FOLDER [--seed 0] [--size HxW] [--prompt TEXT] [--set KEY=JSON]

Writes FOLDER/sdxl-SEED and FOLDER/sdxl-SEED-golden (diffmine-golden-1), which `diffmine verify FOLDER` computes again. Widths, numbers of heads and
layers, the end token of the text encoder's config and sizes follow from the seed.
"""
import random

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

import common
from common import randomized, text_config


def make_model(folder, args):
    seed, rng = args.seed, random.Random(args.seed)
    pick = rng.choice
    tokenizer, other = common.tokenizers(args.like)
    end = pick([2, tokenizer.eos_token_id])
    torch.manual_seed(seed)
    first = randomized(CLIPTextModel(text_config(pick, 2, "quick_gelu")), seed + 1)
    second = randomized(CLIPTextModelWithProjection(text_config(pick, end, pick(["gelu", "quick_gelu"]))), seed + 2)
    levels = pick([2, 3])
    heads = [pick([1, 2, 4]) for _ in range(levels)]
    channels = [8 * pick([1, 2, 3]) * h for h in heads]
    crosses = [pick([True, False]) for _ in range(levels - 1)] + [True]
    size_dim = 2 * pick([3, 4, 8])
    config = dict(
        sample_size=16, block_out_channels=channels, layers_per_block=pick([1, 2]), norm_num_groups=pick([4, 8]),
        down_block_types=["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crosses],
        up_block_types=["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in crosses[::-1]],
        attention_head_dim=heads, transformer_layers_per_block=[pick([1, 2, 3]) for _ in range(levels)],
        cross_attention_dim=first.config.hidden_size + second.config.hidden_size, use_linear_projection=pick([True, False]),
        addition_embed_type="text_time", addition_time_embed_dim=size_dim,
        projection_class_embeddings_input_dim=second.config.projection_dim + 6 * size_dim,
    )
    unet = UNet2DConditionModel(**{**config, **common.overrides(args)})
    vae = common.tiny_vae(pick([2, 3]), layers_per_block=pick([1, 2]), latent_channels=4, scaling_factor=pick([0.13025, 0.5]))
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, prediction_type=pick(["epsilon", "v_prediction"])
    )
    pipeline = StableDiffusionXLPipeline(
        vae=randomized(vae, seed + 3), text_encoder=first, text_encoder_2=second, tokenizer=tokenizer, tokenizer_2=other,
        unet=randomized(unet, seed + 4), scheduler=scheduler, add_watermarker=False,
    )
    common.save(pipeline, folder, args.like, {"force_zeros_for_empty_prompt": pick([True, False])})
    return pipeline, rng


@torch.no_grad()
def main():
    args = common.arguments(__doc__).parse_args()
    name = args.name or f"sdxl-{args.seed}"
    prompts = args.prompt or common.PROMPTS
    pipeline, rng = make_model(args.folder / name, args)
    unet, vae, scheduler = pipeline.unet, pipeline.vae, pipeline.scheduler
    golden = common.Golden()
    text, _, pooled, _ = pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    golden.add("text", "sdxl_text", {"prompts": prompts}, {}, {"prompt_embeds": text, "pooled": pooled}, 1e-4, 1e-4)

    torch.manual_seed(args.seed + 5)
    for case, (height, width) in enumerate(common.sizes(args, rng, 3, 1, 14)):
        count = rng.randint(1, 3)
        x, t = torch.randn(count, 4, height, width), torch.randint(0, 1000, (count,))
        index = torch.randint(0, len(prompts), (count,))
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

    null = len(prompts) - 1
    for case in range(2):
        height, width, samples = rng.randint(17, 40), rng.randint(17, 40), 3
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        latent = common.latent_of(vae, image)
        noises, t = torch.randn(samples, *latent.shape[1:]), torch.randint(100, 700, (samples,))
        alpha = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latent + (1 - alpha).sqrt() * noises
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = alpha.sqrt() * noises - (1 - alpha).sqrt() * latent if velocity else noises
        ids = torch.tensor([[height, width, 0, 0, height, width]]).float().expand(samples, -1)
        losses = []
        for k in range(len(prompts)):
            states, vector = text[k].expand(samples, -1, -1), pooled[k].expand(samples, -1)
            out = unet(noisy, t, states, added_cond_kwargs={"text_embeds": vector, "time_ids": ids}).sample
            losses.append((out - target).square().mean(1))
        losses = torch.stack(losses, 1)
        differences = (losses[:, null : null + 1] - losses[:, :null]).mean(0)
        golden.add(
            f"typicality_{case}", "sdxl_typicality", {"prompts": prompts, "null_index": null},
            {"image_u8": image, "noises": noises, "t": t}, {"latent": latent, "losses": losses, "T_map": differences}, 1e-4, 1e-3,
        )
    golden.write(args.folder / f"{name}-golden", name, "sdxl.py")


main()
