"""Trains small models of the kinds that have no UNet, with diffusers, on a dataset with one folder of images per label.

    small-kinds.py vae DATASET OUT                            a VAE with 4 x 4 px per cell
    small-kinds.py dit DATASET OUT --vae VAE                  a class-conditional DiT
    small-kinds.py sd3 DATASET OUT --vae VAE                  a Stable Diffusion 3 with tiny, random text encoders
    [--minutes 30] [--batch 16] [--lr 1e-3] [--size 64] [--patch 2] [--width 192] [--layers 8] [--threads 1]

OUT becomes a folder in diffusers' layout. Timesteps are drawn as for the published models: of DiT uniformly from the whole schedule, of Stable Diffusion 3
from the logistic of a normal distribution. A tenth of the labels is dropped. Trains for the given minutes; the last two fifths with a falling rate.
Needs torch, diffusers, transformers and Pillow.
"""
import argparse
import json
import math
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline,
)
from diffusers.models.attention_processor import JointAttnProcessor2_0
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

sys.path.append(str(pathlib.Path(__file__).parent / "golden"))
import common

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("kind", choices=["vae", "dit", "sd3"])
parser.add_argument("dataset", type=pathlib.Path)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--vae", type=pathlib.Path)
parser.add_argument("--minutes", type=float, default=30)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--size", type=int, default=64)
parser.add_argument("--patch", type=int, default=2, help="cells of the latent per token")
parser.add_argument("--width", type=int, default=192)
parser.add_argument("--layers", type=int, default=8)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()
torch.manual_seed(0)
torch.set_num_threads(args.threads)
NULL_PROMPT = ""


def pixels(file):
    image = Image.open(file).convert("RGB")
    image = image.resize((args.size, args.size), Image.LANCZOS) if image.size != (args.size, args.size) else image
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(args.size, args.size, 3).permute(2, 0, 1)


labels = sorted(folder.name for folder in args.dataset.iterdir() if folder.is_dir())
files = [(file, i) for i, label in enumerate(labels) for file in sorted((args.dataset / label).iterdir()) if file.suffix in (".png", ".jpg")]
images, classes = torch.stack([pixels(file) for file, _ in files]), torch.tensor([i for _, i in files])


def batch_of(images):
    """Random images as the VAE sees them, half of them mirrored."""
    x = images[torch.randint(len(images), (args.batch,))].float() / 127.5 - 1
    return torch.where(torch.rand(args.batch, 1, 1, 1) < 0.5, x, x.flip(3))


def train(model, loss_of, save):
    """AdamW with a warm-up and a falling rate at the end, by the clock; saves an average of the weights."""
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0, betas=(0.9, 0.98), fused=True)
    start, step, losses, done = time.time(), 0, [], 0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100, (1 - done) / 0.4)
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        step += 1
        keep = min(0.998, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_([average[name] for name in average], list(model.state_dict().values()), 1 - keep)
        losses.append(loss.item())
        done = (time.time() - start) / (60 * args.minutes)
        if step % 100 == 0:
            print(f"step {step}, {done:.0%}, loss {sum(losses[-100:]) / 100:.4f}", flush=True)
    model.load_state_dict(average)
    model.eval()
    save()
    (args.out / "study.json").write_text(json.dumps({"steps": step, "batch": args.batch, "loss": sum(losses[-200:]) / len(losses[-200:])}) + "\n")


def whiten(vae, latent):
    """The latents' channels get mean 0 and standard deviation 1 and become uncorrelated, by the convolutions around them: else what one channel holds
    outlives the noise long after the rest. (The variances of the encoder, which only training uses, stay as they are.)"""
    mean, channels = latent.mean((0, 2, 3)), latent.movedim(1, 0).flatten(1)
    values, vectors = torch.linalg.eigh(torch.cov(channels))
    white, colored = vectors @ (values**-0.5).diag() @ vectors.T, vectors @ (values**0.5).diag() @ vectors.T
    out, back = vae.quant_conv, vae.post_quant_conv
    out.bias[:4] = white @ (out.bias[:4] - mean)
    out.weight[:4] = (white @ out.weight[:4, :, 0, 0])[:, :, None, None]
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight.copy_((back.weight[:, :, 0, 0] @ colored)[:, :, None, None])
    vae.register_to_config(scaling_factor=1.0)


def train_vae():
    blocks = dict(down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, block_out_channels=(16, 32, 64))
    vae = AutoencoderKL(
        **blocks, layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=args.size, mid_block_add_attention=False,
    ).to(memory_format=torch.channels_last)

    def loss_of(vae):
        x = batch_of(images).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latent = vae.encode(x).latent_dist
            decoded = vae.decode(latent.sample()).sample
        return (decoded.float() - x).abs().mean() + 1e-4 * latent.kl().mean() / latent.mean[0].numel()

    def save():
        vae.to(memory_format=torch.contiguous_format)
        x = images[:: len(images) // 200].float() / 127.5 - 1
        with torch.no_grad():
            whiten(vae, vae.encode(x).latent_dist.mean)
            latent = vae.encode(x).latent_dist.mean
            psnr = -10 * math.log10((vae.decode(latent).sample - x).square().mean().item() / 4)
        print(f"PSNR of reconstructions {psnr:.1f} dB, standard deviation of latents {latent.std():.3f}")
        vae.save_pretrained(args.out)

    train(vae, loss_of, save)


def latents_of(vae):
    """What is denoised [2, images, 4, h, w]: of the images, and of the mirrored ones. Kept beside the VAE."""
    kept = args.vae / f"latents-{args.dataset.resolve().name}-{len(images)}.pt"
    if not kept.exists():
        with torch.no_grad():
            def encoded(x):
                return torch.cat([common.latent_of(vae, one) for one in x])

            torch.save(torch.stack([encoded(images), encoded(images.flip(3))]), kept)
    return torch.load(kept)


def examples(latents, conditions):
    """A batch: latents, numbers of the conditions (of a tenth the last one, null), noise, and u in (0, 1) with one in each of as many equal parts."""
    rows = torch.randint(len(images), (args.batch,))
    numbers = torch.where(torch.rand(args.batch) < 0.1, conditions - 1, classes[rows])
    x = latents[torch.randint(2, (args.batch,)), rows]
    return x, numbers, torch.randn_like(x), (torch.randperm(args.batch) + torch.rand(args.batch)) / args.batch


def start_as_identity(model, last):
    """Adaptive norms and the last layer begin at zero, as in the paper of DiT; diffusers leaves that to the training."""
    for name, module in model.named_modules():
        if name == last or (isinstance(module, torch.nn.Linear) and ".norm1" in name and name.endswith("linear")):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)


def transformer_size(latents):
    cells = latents.shape[-1]
    return dict(num_attention_heads=args.width // 32, attention_head_dim=32, in_channels=4, out_channels=4, num_layers=args.layers, sample_size=cells, patch_size=args.patch)


def train_dit():
    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    latents = latents_of(vae)
    model = DiTTransformer2DModel(**transformer_size(latents), num_embeds_ada_norm=len(labels))
    start_as_identity(model, "proj_out_2")
    for block in model.transformer_blocks:  # each would drop labels on its own: null as a whole would not be trained
        block.norm1.emb.class_embedder.dropout_prob = 0
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False)

    def loss_of(model):
        x, numbers, noise, u = examples(latents, len(labels) + 1)
        t = (u * 1000).long()
        with torch.autocast("cpu", torch.bfloat16):
            out = model(scheduler.add_noise(x, noise, t), timestep=t, class_labels=numbers).sample
        return (out.float() - noise).square().mean()

    def save():
        pipeline = DiTPipeline(transformer=model, vae=vae, scheduler=scheduler)
        common.save(pipeline, args.out, common.GOLDEN / "tiny-sdxl", {"id2label": {str(i): label for i, label in enumerate(labels)}})

    train(model, loss_of, save)


def text_encoder(hidden, seed):
    """Random and frozen; the labels stay distinct. Paddings are nearly alike, wherever they are."""
    config = CLIPTextConfig(
        vocab_size=640, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2, num_attention_heads=2, hidden_act="gelu",
        projection_dim=hidden, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )
    torch.manual_seed(seed)
    encoder = common.randomized(CLIPTextModelWithProjection(config), seed)
    for name, weight in encoder.named_parameters():
        if "position_embedding" in name:
            weight.detach().mul_(0.02)
    return encoder


class ShortContext(JointAttnProcessor2_0):
    """Attention to a context in which one token stands for many: of the 77 tokens of CLIP those after the 12th are padding, and those of T5 are zeros.
    Exact for the zeros, close for the padding, at a fifth of the cost."""
    bias = None

    def __call__(self, *given, **named):
        real = F.scaled_dot_product_attention
        F.scaled_dot_product_attention = lambda q, k, v, **_: real(q, k, v, attn_mask=ShortContext.bias.to(q.dtype))
        try:
            return super().__call__(*given, **named)
        finally:
            F.scaled_dot_product_attention = real


def shortened(text, tokens=12):
    return torch.cat([text[:, :tokens], text[:, tokens:77].mean(1, keepdim=True), text[:, -1:]], 1), torch.tensor([1.0] * tokens + [77 - tokens, 256])


def train_sd3():
    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    latents = latents_of(vae)
    tokenizer, other = common.tokenizers(common.GOLDEN / "tiny-sdxl")
    first, second = text_encoder(32, 1), text_encoder(64, 2)
    model = SD3Transformer2DModel(
        **transformer_size(latents), caption_projection_dim=args.width, joint_attention_dim=96, pooled_projection_dim=96,
        pos_embed_max_size=latents.shape[-1] // args.patch, qk_norm="rms_norm",
    )
    start_as_identity(model, "proj_out")
    pipeline = StableDiffusion3Pipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae, text_encoder=first, tokenizer=tokenizer, text_encoder_2=second,
        tokenizer_2=other, text_encoder_3=None, tokenizer_3=None,
    )
    prompts = [*labels, NULL_PROMPT]
    with torch.no_grad():
        whole, _, pooled, _ = pipeline.encode_prompt(prompts, prompts, prompts, device="cpu", do_classifier_free_guidance=False)
    print("distances of pooled embeddings:", torch.cdist(pooled, pooled).round(decimals=1).tolist())
    short, counts = shortened(whole)
    tokens = (latents.shape[-1] // args.patch) ** 2
    ShortContext.bias = torch.cat([torch.zeros(tokens), counts.log()])[None, None, None]
    model.set_attn_processor(ShortContext())

    def loss_of(model):
        x, numbers, noise, u = examples(latents, len(prompts))
        sigma = torch.sigmoid(torch.special.ndtri(u)).view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            out = model((1 - sigma) * x + sigma * noise, short[numbers], pooled[numbers], 1000 * sigma.flatten()).sample
        return (out.float() - (noise - x)).square().mean()

    def save():
        common.save(pipeline, args.out, common.GOLDEN / "tiny-sdxl")
        x, numbers, noise, u = examples(latents, len(prompts))
        noisy, t = (x + noise) / 2, torch.full((args.batch,), 500.0)
        with torch.no_grad():
            near = model(noisy, short[numbers], pooled[numbers], t).sample
            model.set_attn_processor(JointAttnProcessor2_0())
            exact = model(noisy, whole[numbers], pooled[numbers], t).sample
        print(f"short context against the whole one: loss {(near - noise + x).square().mean():.4f}, {(exact - noise + x).square().mean():.4f}")

    train(model, loss_of, save)


{"vae": train_vae, "dit": train_dit, "sd3": train_sd3}[args.kind]()
