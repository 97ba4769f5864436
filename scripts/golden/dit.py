"""A tiny DiT folder with random weights, and reference values computed with it by diffusers.

    dit.py FOLDER [--seed 0] [--size HxW] [--set KEY=JSON]

Writes FOLDER/dit-SEED and FOLDER/dit-SEED-golden (diffmine-golden-1), which `diffmine verify FOLDER` computes again. Widths, heads, layers, patch and
sample sizes, classes, activation, biases and whether the variance is learned follow from the seed.
diffusers puts the patches of its output together as a square: of other sizes, that is done here.
"""
import random

import torch
from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

import common


def make_model(folder, args):
    rng = random.Random(args.seed)
    pick = rng.choice
    heads, patch, channels = pick([1, 2, 3]), pick([1, 2, 4]), pick([4, 6])
    config = dict(
        num_attention_heads=heads, attention_head_dim=pick([8, 12, 20]), in_channels=channels, out_channels=channels * pick([1, 2]),
        num_layers=pick([1, 2, 4]), attention_bias=pick([True, True, False]), sample_size=patch * pick([3, 4, 5]), patch_size=patch,
        activation_fn=pick(["gelu-approximate", "gelu-approximate", "gelu", "geglu"]), num_embeds_ada_norm=pick([5, 9]),
        norm_elementwise_affine=pick([False, False, True]), norm_eps=pick([1e-5, 1e-4]),
    )
    torch.manual_seed(args.seed)
    transformer = common.randomized(DiTTransformer2DModel(**{**config, **common.overrides(args)}), args.seed + 1)
    vae = common.randomized(common.tiny_vae(pick([2, 3]), latent_channels=transformer.config.in_channels, scaling_factor=0.18215), args.seed + 2)
    scheduler = DDIMScheduler(beta_schedule="linear", beta_start=0.0001, beta_end=0.02, clip_sample=False)
    names = {i: f"class {i}, its second name {i}" for i in range(transformer.config.num_embeds_ada_norm)}
    pipeline = DiTPipeline(transformer=transformer, vae=vae, scheduler=scheduler)
    common.save(pipeline, folder, args.like, {"id2label": names})
    return pipeline, rng


def forward(transformer, x, t, labels):
    """The prediction of images of any size [B, out_channels, H, W], and the tokens after each block."""
    seen, patch = {}, transformer.config.patch_size
    blocks = transformer.transformer_blocks
    hooks = [block.register_forward_hook(lambda _, __, out, i=i: seen.update({f"block{i}": out.clone()})) for i, block in enumerate(blocks)]
    hooks.append(transformer.proj_out_2.register_forward_hook(lambda _, __, out: seen.update(patches=out.clone())))
    try:
        transformer(x, t, labels)
    except RuntimeError as error:  # only from the last lines of forward
        if "patches" not in seen or "shape" not in str(error):
            raise
    for hook in hooks:
        hook.remove()
    height, width = x.shape[2] // patch, x.shape[3] // patch
    patches = seen.pop("patches").unflatten(1, (height, width)).unflatten(3, (patch, patch, -1))
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(len(x), -1, height * patch, width * patch), seen


@torch.no_grad()
def main():
    args = common.arguments(__doc__).parse_args()
    name = args.name or f"dit-{args.seed}"
    pipeline, rng = make_model(args.folder / name, args)
    transformer, vae, scheduler = pipeline.transformer, pipeline.vae, pipeline.scheduler
    config = transformer.config
    golden, null = common.Golden(), config.num_embeds_ada_norm
    torch.manual_seed(args.seed + 3)
    square = (config.sample_size,) * 2
    x, t, labels = torch.randn(2, config.in_channels, *square), torch.tensor([0, 999]), torch.tensor([0, null])
    sample, seen = forward(transformer, x, t, labels)
    assert torch.equal(sample, transformer(x, t, labels).sample)
    for case, size in enumerate([square] + common.sizes(args, rng, 2, config.patch_size, 16)):
        if case > 0:
            count = rng.randint(1, 3)
            x, t, labels = torch.randn(count, config.in_channels, *size), torch.randint(0, 1000, (count,)), torch.randint(0, null + 1, (count,))
            sample, seen = forward(transformer, x, t, labels)
        golden.add(f"dit_{case}", "dit", {"null_class": null}, {"x": x, "t": t, "class_labels": labels}, {"sample": sample, **seen}, 1e-4, 1e-4)

    factor = config.patch_size * 2 ** (len(vae.config.block_out_channels) - 1)
    for case in range(2):
        image = torch.randint(0, 256, (3, *(factor * rng.randint(1, max(2, 40 // factor)) for _ in range(2))), dtype=torch.uint8)
        latent, samples = common.latent_of(vae, image), 3
        noises, t = torch.randn(samples, *latent.shape[1:]), torch.randint(100, 700, (samples,))
        alpha = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latent + (1 - alpha).sqrt() * noises
        classes = [0, null - 1, 2, null]
        losses = [
            (forward(transformer, noisy, t, torch.full((samples,), c))[0][:, : config.in_channels] - noises).square().mean(1) for c in classes
        ]
        losses = torch.stack(losses, 1)
        golden.add(
            f"typicality_{case}", "dit_typicality", {"class_labels": classes, "null_index": len(classes) - 1},
            {"image_u8": image, "noises": noises, "t": t},
            {"latent": latent, "losses": losses, "T_map": (losses[:, -1:] - losses[:, :-1]).mean(0)}, 1e-4, 1e-3,
        )
    golden.write(args.folder / f"{name}-golden", name, "dit.py")


main()
