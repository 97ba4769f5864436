"""The loop of the paper's code, in diffusers, to time a whole pipeline against.

Siglidis et al., "Diffusion Models as Data Mining Tools" (ECCV 2024), written anew from its description, with nothing made faster or slower on purpose:
  1. each image is encoded once; noise and timesteps are drawn for N samples; the UNet runs in batches of 20 samples, once under the label's
     prompt and once under the null prompt; the squared errors, averaged over channels, go to the host and are kept there (section 3.1);
  2. their mean difference is upsampled to the image, averaged over patches with stride 1, and up to 5 non-overlapping patches are kept (3.2);
  3. for each of the best K patches of a label: a DIFT pass over its image (t = 161, first up block, 8 noises), averaged over the patch (3.3);
  4. k-means with 32 clusters and 10 starts over the features of a label.

    reference-loop.py REQUEST.json RESULT.json [THREADS]

`diffmine bench --reference` makes the request and reads the result: {"images", "stages": {name: seconds}}.
"""
import json
import sys
import time

began = time.perf_counter()
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image, ImageOps
from safetensors.torch import load_file

if torch.cuda.is_available():
    torch.zeros(1, device="cuda")  # the driver's context is no work of the loop: the other side has one, too
stages = {"imports": time.perf_counter() - began}


class Stage:
    """Adds the seconds of a block to a stage, with the device waited for."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        stages[self.name] = stages.get(self.name, 0) + time.perf_counter() - self.start


def read_image(file, size, multiple):
    """[1, 3, H, W] in [-1, 1], the short side shrunk to size."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    w, h = image.size
    if min(w, h) > size:
        w, h = (w * size // h, size) if w > h else (size, h * size // w)
        image = image.resize((w, h), Image.LANCZOS)
    image = image.crop((0, 0, w - w % multiple, h - h % multiple))
    return torch.from_numpy(np.asarray(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def select(scores, k, count):
    """Greedy: the best patches that do not overlap."""
    scores = scores.copy()
    found = []
    for _ in range(count):
        row, column = np.unravel_index(np.argmax(scores), scores.shape)
        if not np.isfinite(scores[row, column]):
            break
        found.append((float(scores[row, column]), int(row), int(column)))
        scores[max(0, row - k):row + k + 1, max(0, column - k):column + k + 1] = -np.inf
    return found


def kmeans(points, clusters, restarts, generator):
    """k-means++ and Lloyd, the best of several starts: its inertia."""
    best = np.inf
    clusters = min(clusters, len(points))
    for _ in range(restarts):
        centers = points[generator.integers(len(points))][None]
        for _ in range(clusters - 1):
            nearest = ((points[:, None] - centers[None]) ** 2).sum(-1).min(1)
            total = nearest.sum()
            centers = np.concatenate([centers, points[generator.choice(len(points), p=nearest / total) if total > 0 else 0][None]])
        for _ in range(300):
            distances = ((points**2).sum(1)[:, None] - 2 * points @ centers.T + (centers**2).sum(1)[None])
            labels = distances.argmin(1)
            moved = np.stack([points[labels == c].mean(0) if (labels == c).any() else centers[c] for c in range(clusters)])
            shift, centers = ((moved - centers) ** 2).sum(), moved
            if shift <= 1e-4 * points.var(0).mean():
                break
        best = min(best, float(distances.min(1).sum()))
    return best


def load(kind, request, part, **options):
    """A part of the model: of the variant that was asked for, where it has it."""
    try:
        return kind.from_pretrained(request["model"], subfolder=part, variant=request.get("variant"), **options)
    except OSError:
        return kind.from_pretrained(request["model"], subfolder=part, **options)


@torch.no_grad()
def main():
    request = json.load(open(sys.argv[1]))
    if len(sys.argv) > 3 and int(sys.argv[3]):
        torch.set_num_threads(int(sys.argv[3]))
    device = request["device"]
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[request["dtype"]]
    samples, batch, k = request["samples"], request["batch"], request["patch"]
    with Stage("load"):
        unet = load(UNet2DConditionModel, request, "unet", torch_dtype=dtype).to(device).eval()
        vae = load(AutoencoderKL, request, "vae").to(device).eval()
        schedule = DDPMScheduler.from_pretrained(request["model"], subfolder="scheduler")
        embeddings = load_file(request["embeddings"])["embeddings"].to(device, dtype)
    null = embeddings[-1:]
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    generator = torch.Generator().manual_seed(0)

    def predict(noisy, timesteps, condition):
        return unet(noisy.to(dtype), timesteps, condition.expand(len(noisy), -1, -1)).sample

    # 1 and 2: losses of every image, then its patches
    candidates = {label: [] for label in request["labels"]}
    encoded = {}
    for index, image in enumerate(request["images"]):
        with Stage("encode"):
            pixels = read_image(image["file"], request["size"], factor).to(device)
            x0 = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
            encoded[index] = (x0, pixels.shape[-2:])
        condition = embeddings[request["labels"].index(image["label"])][None]
        losses = {"label": [], "null": []}
        noises = torch.randn(samples, *x0.shape[1:], generator=generator)
        timesteps = torch.randint(*request["t_range"], (samples,), generator=generator)
        for begin in range(0, samples, batch):
            noise, t = noises[begin:begin + batch].to(device), timesteps[begin:begin + batch].to(device)
            noisy = schedule.add_noise(x0.expand(len(noise), -1, -1, -1), noise, t)
            for name, given in (("label", condition), ("null", null)):
                with Stage("unet"):
                    predicted = predict(noisy, t, given)
                with Stage("losses"):
                    losses[name].append(((predicted.float() - noise) ** 2).mean(1).cpu().numpy())
        with Stage("patches"):
            difference = torch.from_numpy((np.concatenate(losses["null"]) - np.concatenate(losses["label"])).mean(0))[None, None]
            scores = F.avg_pool2d(F.interpolate(difference, size=encoded[index][1], mode="bilinear", align_corners=False), k, stride=1)[0, 0].numpy()
            candidates[image["label"]] += [(score, index, row, column) for score, row, column in select(scores, k, request["per_image"])]

    # 3 and 4: features of the best patches, patch by patch, then clusters
    class Found(Exception):
        pass

    feature = {}

    def keep(module, inputs, output):
        feature["map"] = output
        raise Found

    hook = unet.up_blocks[request["dift"]["up_block"]].register_forward_hook(keep)
    for row_of, label in enumerate(request["labels"]):
        features = []
        for _, index, row, column in sorted(candidates[label], reverse=True)[:request["top"]]:
            with Stage("features"):
                x0, (height, width) = encoded[index]
                ensemble = request["dift"]["ensemble"]
                t = torch.full((ensemble,), request["dift"]["timestep"], device=device)
                noise = torch.randn(ensemble, *x0.shape[1:], generator=generator).to(device)
                try:
                    predict(schedule.add_noise(x0.expand(ensemble, -1, -1, -1), noise, t), t, embeddings[row_of][None])
                except Found:
                    pass
                map_ = feature["map"].float().mean(0)
                rows, columns = ([int(at * cells / side), max(int(at * cells / side) + 1, int((at + k) * cells / side))] for at, cells, side in ((row, map_.shape[1], height), (column, map_.shape[2], width)))
                patch = map_[:, rows[0]:rows[1], columns[0]:columns[1]].mean((1, 2))
                features.append((patch / patch.norm()).cpu().numpy())
        if features:
            with Stage("cluster"):
                kmeans(np.stack(features).astype(np.float64), request["clusters"], 10, np.random.default_rng(0))
    hook.remove()
    json.dump({"images": len(request["images"]), "stages": stages}, open(sys.argv[2], "w"))


main()
