"""Trains a small class-conditional DiT in pixel space, as a diffusion or as a flow, for scripts/range-study.mjs.

    range-study.py DATASET OUT --kind dit|flow [--steps 4000] [--size 32] [--threads 1]

DATASET has one folder of images per label. OUT becomes a folder in diffusers' layout. Timesteps are drawn uniformly from the whole schedule.
Needs torch, diffusers and Pillow.
"""
import argparse
import json
import pathlib

import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("dataset", type=pathlib.Path)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--kind", choices=["dit", "flow"], required=True)
parser.add_argument("--steps", type=int, default=4000)
parser.add_argument("--size", type=int, default=32)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()
torch.manual_seed(0)
torch.set_num_threads(args.threads)


def pixels(file):
    image = Image.open(file).convert("RGB")
    image = image.resize((args.size, args.size), Image.LANCZOS) if image.size != (args.size, args.size) else image
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(args.size, args.size, 3).permute(2, 0, 1)


labels = sorted(folder.name for folder in args.dataset.iterdir() if folder.is_dir())
files = [(file, i) for i, label in enumerate(labels) for file in sorted((args.dataset / label).iterdir()) if file.suffix in (".png", ".jpg")]
images, classes = torch.stack([pixels(file) for file, _ in files]), torch.tensor([i for _, i in files])
model = DiTTransformer2DModel(
    num_attention_heads=3, attention_head_dim=32, in_channels=3, out_channels=3, num_layers=5, sample_size=args.size, patch_size=4,
    num_embeds_ada_norm=len(labels),
)
average = {name: value.detach().clone() for name, value in model.state_dict().items()}
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
flow = args.kind == "flow"
scheduler = FlowMatchEulerDiscreteScheduler() if flow else DDIMScheduler(beta_schedule="linear", clip_sample=False)
scheduler.save_pretrained(args.out / "scheduler")
index = {
    "_class_name": "DiTPipeline", "_diffusers_version": "0.40.0", "id2label": {str(i): label for i, label in enumerate(labels)},
    "scheduler": ["diffusers", type(scheduler).__name__], "transformer": ["diffusers", "DiTTransformer2DModel"],
}
(args.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
losses = []


def save(step):
    now = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average)
    model.save_pretrained(args.out / "transformer")
    model.load_state_dict(now)
    (args.out / "study.json").write_text(json.dumps({"steps": step, "loss": sum(losses[-200:]) / len(losses[-200:])}) + "\n")


for step in range(1, args.steps + 1):
    rows = torch.randint(len(images), (args.batch,))
    x = images[rows].float() / 127.5 - 1
    noise, t = torch.randn_like(x), torch.randint(1000, (args.batch,))
    if flow:
        sigma = (t / 1000).view(-1, 1, 1, 1)
        noisy, target = (1 - sigma) * x + sigma * noise, noise - x
    else:
        noisy, target = scheduler.add_noise(x, noise, t), noise
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * min(1, step / 50, 1.05 - step / args.steps)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(noisy, timestep=t, class_labels=classes[rows]).sample  # drops a tenth of the labels
    loss = (out.float() - target).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
    optimizer.step()
    keep = min(0.995, step / (step + 10))
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - keep)
    losses.append(loss.item())
    if step % 250 == 0:
        print(f"step {step}, loss {sum(losses[-250:]) / 250:.4f}", flush=True)
        save(step)
save(args.steps)
