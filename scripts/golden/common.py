"""What the scripts of this folder that write golden cases have in common: random parts of models, and the format of the cases.

Needs torch, diffusers and transformers.
"""
import argparse
import json
import pathlib
import random
import shutil

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTokenizer

for library in (diffusers, transformers):
    library.utils.logging.set_verbosity_error()  # prompts are too long on purpose
transformers.utils.logging.disable_progress_bar()

PROMPTS = ["a photo of Paris", "A HOUSE, 1920's!", "two red doors, ünïcode — and a very long tail " * 6, "", "a photo"]
GOLDEN = pathlib.Path(__file__).parents[2] / "test/data/golden"


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="of the folder, instead of KIND-SEED")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="another value of the denoiser's config")
    parser.add_argument("--size", action="append", default=[], metavar="HxW", help="of what is denoised, in cells; may be repeated")
    parser.add_argument("--prompt", action="append", default=[], help="instead of the script's own; may be repeated, the last is null")
    parser.add_argument("--like", type=pathlib.Path, default=GOLDEN / "tiny-sdxl", help="a model whose tokenizers are used")
    return parser


def overrides(args):
    return {key: json.loads(value) for key, value in (one.split("=", 1) for one in args.set)}


def sizes(args, rng, count, multiple, most):
    given = [tuple(int(side) for side in one.split("x")) for one in args.size]
    return given or [tuple(multiple * rng.randint(2, most // multiple) for _ in range(2)) for _ in range(count)]


def text_config(pick, end, act):
    heads = pick([1, 2, 3])
    width = heads * pick([8, 10])
    return CLIPTextConfig(
        vocab_size=640, hidden_size=width, intermediate_size=pick([24, 40]), num_hidden_layers=pick([1, 2, 4]), num_attention_heads=heads,
        hidden_act=act, projection_dim=pick([12, 26]), bos_token_id=0, eos_token_id=end, pad_token_id=1,
    )


def tokenizers(like):
    return CLIPTokenizer.from_pretrained(like / "tokenizer"), CLIPTokenizer.from_pretrained(like / "tokenizer_2")


def tiny_vae(levels=2, **config):
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    return AutoencoderKL(block_out_channels=(8, 16, 16)[:levels], norm_num_groups=8, sample_size=32, **kinds, **config)


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


def save(pipeline, folder, like, index=None):
    """Tokenizers as they were, whatever this version of transformers writes; `index` is added to model_index.json."""
    pipeline.save_pretrained(folder)
    for name in ["tokenizer", "tokenizer_2"]:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
            shutil.copytree(like / name, folder / name)
    if index:
        file = folder / "model_index.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **index}, indent=2))


def latent_of(vae, image):
    """uint8 [3, H, W] -> what is denoised [1, C, h, w]."""
    mean = vae.encode(image[None].float() / 127.5 - 1).latent_dist.mean
    return (mean - (vae.config.shift_factor or 0)) * vae.config.scaling_factor


class Golden:
    def __init__(self):
        self.tensors, self.cases = {}, []

    def add(self, case, op, params, inputs, outputs, atol, rtol, description=""):
        def stored(way, named):
            names = {}
            for name, value in named.items():
                names[name] = value if isinstance(value, str) else f"{case}.{way}.{name}"
                if not isinstance(value, str):
                    self.tensors[names[name]] = value.detach().clone().contiguous()
            return names

        self.cases.append({
            "id": case, "op": op, **({"description": description} if description else {}), "params": params,
            "inputs": stored("in", inputs), "outputs": stored("out", outputs), "tolerance": {"atol": atol, "rtol": rtol},
        })

    def write(self, folder, variant, generator):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, folder / "golden.safetensors")
        versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}
        manifest = {"format": "diffmine-golden-1", "file": "golden.safetensors", "variant": variant, "generator": f"scripts/golden/{generator}"}
        (folder / "manifest.json").write_text(json.dumps({**manifest, "versions": versions, "cases": self.cases}, indent=1))
