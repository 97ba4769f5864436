"""A tiny Stable Diffusion 3 or 3.5 folder with random weights, and reference values computed with it by diffusers.

    sd3.py FOLDER [--seed 0] [--medium] [--t5] [--size HxW] [--prompt TEXT] [--set KEY=JSON]

Writes FOLDER/sd3-SEED and FOLDER/sd3-SEED-golden (diffmine-golden-1), which `diffmine verify FOLDER` computes again. --medium: as 3.5 medium,
with normalized queries and keys and with a second attention in some blocks. --t5: with a T5 encoder and a tokenizer of its kind. Widths, heads, layers, sizes of patches and places, channels of the
VAE and the scheduler's shift follow from the seed.
"""
import random

import t5
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextModelWithProjection

import common
from common import randomized, text_config


def make_model(folder, args):
    seed, rng = args.seed, random.Random(args.seed)
    pick = rng.choice
    tokenizer, other = common.tokenizers(args.like)
    end = pick([2, tokenizer.eos_token_id])
    torch.manual_seed(seed)
    first = randomized(CLIPTextModelWithProjection(text_config(pick, 2, "quick_gelu")), seed + 1)
    second = randomized(CLIPTextModelWithProjection(text_config(pick, end, pick(["gelu", "quick_gelu"]))), seed + 2)
    third = t5.encoder(args.seed) if args.t5 else None
    heads, size, channels, layers = pick([1, 2, 3, 4]), pick([8, 12, 20]), pick([4, 8, 16]), pick([1, 2, 4])
    patch = pick([1, 2, 2, 4])
    dual = [i for i in range(layers) if i == 0 or rng.random() < 0.5] if args.medium else []
    config = dict(
        sample_size=patch * pick([4, 7, 10]), patch_size=patch, in_channels=channels, out_channels=channels, num_layers=layers,
        attention_head_dim=size, num_attention_heads=heads, caption_projection_dim=heads * size,
        joint_attention_dim=third.config.d_model if third else first.config.hidden_size + second.config.hidden_size + pick([0, 4, 10]),
        pooled_projection_dim=first.config.projection_dim + second.config.projection_dim, pos_embed_max_size=pick([11, 16, 24]),
        dual_attention_layers=dual, qk_norm="rms_norm" if args.medium else None,
    )
    transformer = randomized(SD3Transformer2DModel(**{**config, **common.overrides(args)}), seed + 3)
    published = pick([True, False])
    vae = common.tiny_vae(
        pick([2, 3]), latent_channels=channels, scaling_factor=1.5305 if published else 0.9, shift_factor=0.0609 if published else None,
        use_quant_conv=not published, use_post_quant_conv=not published,
    )
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=pick([1.0, 3.0, 2.5])), vae=randomized(vae, seed + 4),
        text_encoder=first, tokenizer=tokenizer, text_encoder_2=second, tokenizer_2=other, text_encoder_3=third,
        tokenizer_3=t5.tokenizer() if third else None,
    )
    common.save(pipeline, folder, args.like)
    return pipeline, rng


@torch.no_grad()
def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--medium", action="store_true")
    parser.add_argument("--t5", action="store_true")
    args = parser.parse_args()
    name = args.name or f"sd3-{args.seed}"
    prompts = args.prompt or (t5.PROMPTS if args.t5 else common.PROMPTS)
    pipeline, rng = make_model(args.folder / name, args)
    transformer, vae, scheduler = pipeline.transformer, pipeline.vae, pipeline.scheduler
    config = transformer.config
    golden = common.Golden()
    tokens = rng.choice([5, 16]) if not args.t5 else rng.choice([24, 40])
    text, _, pooled, _ = pipeline.encode_prompt(
        prompts, prompts, prompts, device="cpu", do_classifier_free_guidance=False, max_sequence_length=tokens
    )
    golden.add(
        "text", "sd3_text", {"prompts": prompts, "max_sequence_length": tokens}, {}, {"prompt_embeds": text, "pooled": pooled}, 1e-4, 1e-4
    )
    if args.t5:
        ids = pipeline.tokenizer_3(prompts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt").input_ids
        golden.add("t5_tokens", "t5_tokenize", {"prompts": prompts, "max_sequence_length": tokens}, {}, {"input_ids": ids}, 0, 0)
        golden.add("t5", "t5_text", {}, {"input_ids": "t5_tokens.out.input_ids"}, {"last_hidden_state": pipeline.text_encoder_3(ids)[0]}, 1e-4, 1e-4)
    torch.manual_seed(args.seed + 5)
    most = config.patch_size * min(config.pos_embed_max_size, 16 // config.patch_size)
    for case, size in enumerate(common.sizes(args, rng, 3, config.patch_size, most)):
        count = rng.randint(1, 3)
        x, t = torch.randn(count, config.in_channels, *size), 1000 * torch.rand(count)
        if case == 0:
            t[0] = 1000
        index = torch.randint(0, len(prompts), (count,))
        sample = transformer(x, text[index], pooled[index], t).sample
        inputs = {"x": x, "t": t, "cond_index": index, "prompt_embeds": "text.out.prompt_embeds", "pooled": "text.out.pooled"}
        golden.add(f"mmdit_{case}", "sd3_transformer", {}, inputs, {"sample": sample}, 1e-4, 1e-4)

    steps = rng.choice([3, 10, 28])
    scheduler.set_timesteps(steps)
    golden.add(
        "flow_timesteps", "flow_timesteps", {"num_inference_steps": steps, "shift": scheduler.config.shift}, {},
        {"timesteps": scheduler.timesteps, "sigmas": scheduler.sigmas}, 1e-4, 1e-5,
    )

    null = len(prompts) - 1
    factor = config.patch_size * 2 ** (len(vae.config.block_out_channels) - 1)
    for case in range(2):
        sides = (factor * rng.randint(1, max(2, min(config.pos_embed_max_size, 40 // factor))) for _ in range(2))
        image = torch.randint(0, 256, (3, *sides), dtype=torch.uint8)
        latent, samples = common.latent_of(vae, image), 3
        noises, t = torch.randn(samples, *latent.shape[1:]), torch.randint(1, 1000, (samples,))
        sigma = (t / 1000).view(-1, 1, 1, 1)
        noisy, target = (1 - sigma) * latent + sigma * noises, noises - latent
        losses = []
        for k in range(len(prompts)):
            out = transformer(noisy, text[k].expand(samples, -1, -1), pooled[k].expand(samples, -1), t.float()).sample
            losses.append((out - target).square().mean(1))
        losses = torch.stack(losses, 1)
        golden.add(
            f"typicality_{case}", "sd3_typicality", {"prompts": prompts, "null_index": null, "sigma": "t / 1000"},
            {"image_u8": image, "noises": noises, "t": t},
            {"latent": latent, "losses": losses, "T_map": (losses[:, null:] - losses[:, :null]).mean(0)}, 1e-4, 1e-3,
        )
    golden.write(args.folder / f"{name}-golden", name, "sd3.py")


main()
