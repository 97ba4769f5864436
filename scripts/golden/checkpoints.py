"""Tiny Stable Diffusion 1.x and 2.x models as original checkpoints, written by diffusers' own converter, with what diffusers computes from their folders.

python scripts/golden/checkpoints.py DIFFUSERS OUT    DIFFUSERS is a checkout of its repository; OUT is test/data/checkpoints
Needs torch, diffusers, transformers and safetensors. Each OUT/NAME.safetensors goes with NAME.json: the tensors of the folder by name, with shape
and SHA-256 of their bytes, and NAME-golden.safetensors: outputs in fp32.

With --full FOLDER: a folder of the size of Stable Diffusion 1.5 or 2.1 with random weights instead, and its checkpoint beside it.
"""
import argparse, hashlib, json, shutil, subprocess, sys, tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument('diffusers', type=Path)
parser.add_argument('out', type=Path)
parser.add_argument('--full', choices=['sd1', 'sd2'])
args = parser.parse_args()
sys.path.insert(0, str(args.diffusers / 'src'))
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

CONVERTER = args.diffusers / 'scripts' / 'convert_diffusers_to_original_stable_diffusion.py'
TOKENIZER = Path(__file__).resolve().parents[2] / 'test/data/golden/tiny-sd15/tokenizer'


def parts(kind, full):
    v2 = kind == 'sd2'
    widths = [320, 640, 1280, 1280] if full else [32, 32, 32, 32]
    hidden = (1024 if v2 else 768) if full else 64
    heads = [max(1, width // 64) for width in widths] if v2 else 8
    unet = UNet2DConditionModel(
        sample_size=(96 if v2 else 64), in_channels=4, out_channels=4, block_out_channels=widths, layers_per_block=2,
        cross_attention_dim=hidden, attention_head_dim=heads, norm_num_groups=32, use_linear_projection=v2,
        upcast_attention=v2)
    vae = AutoencoderKL(
        block_out_channels=[128, 256, 512, 512] if full else [32, 32, 32, 32], layers_per_block=2, latent_channels=4,
        down_block_types=['DownEncoderBlock2D'] * 4, up_block_types=['UpDecoderBlock2D'] * 4, norm_num_groups=32,
        sample_size=512, scaling_factor=0.18215)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408 if full else 694, hidden_size=hidden, intermediate_size=4 * hidden if full else 64,
        num_hidden_layers=(23 if v2 else 12) if full else (23 if v2 else 2), num_attention_heads=hidden // 64,
        hidden_act='gelu' if v2 else 'quick_gelu', max_position_embeddings=77))
    scheduler = DDIMScheduler(
        beta_schedule='scaled_linear', beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type='v_prediction' if v2 else 'epsilon')
    return {'unet': unet, 'vae': vae, 'text_encoder': text, 'scheduler': scheduler}


def coarse(module):
    """Few different values, in a range where activations stay of order one: the files then compress well."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            parameter.data = (parameter.data / parameter.data.std() * 2).round().clamp(-4, 4) / 2 * parameter.data.std()
            step = parameter.data.abs()[parameter.data != 0].min()
            parameter.data = ((parameter.data / step).round() * step.half().float())
        else:
            parameter.data = (parameter.data + 0.1 * torch.randn_like(parameter)).mul(16).round() / 16


def write(kind, folder, full):
    torch.manual_seed(7 if kind == 'sd1' else 8)
    made = parts(kind, full)
    for name, part in made.items():
        if name != 'scheduler':
            if not full:
                coarse(part)
            part.half().eval()
        part.save_pretrained(folder / name)
    shutil.copytree(TOKENIZER, folder / 'tokenizer')
    names = {'unet': 'UNet2DConditionModel', 'vae': 'AutoencoderKL', 'scheduler': 'DDIMScheduler'}
    index = {name: ['diffusers', cls] for name, cls in names.items()}
    index |= {'text_encoder': ['transformers', 'CLIPTextModel'], 'tokenizer': ['transformers', 'CLIPTokenizer']}
    (folder / 'model_index.json').write_text(json.dumps({'_class_name': 'StableDiffusionPipeline', **index}))
    return made


def convert(folder, file):
    # transformers 5 leaves out a prefix that published folders have, and by which the converter knows 2.x
    weights = folder / 'text_encoder' / 'model.safetensors'
    save_file({(name if name.startswith('text_model.') else f'text_model.{name}'): tensor
               for name, tensor in load_file(weights).items()}, weights, metadata={'format': 'pt'})
    subprocess.run([sys.executable, CONVERTER, '--model_path', folder, '--checkpoint_path', file, '--use_safetensors'],
                   check=True, stdout=subprocess.DEVNULL)


def golden(made):
    torch.manual_seed(9)
    unet, vae, text = (made[name].float() for name in ('unet', 'vae', 'text_encoder'))
    ids = torch.randint(0, 692, (2, 77))
    image = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        embeddings = text(ids).last_hidden_state
        noise = unet(x, torch.tensor([10, 700]), embeddings).sample
        mean = vae.encode(image.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mean
    return {'ids': ids, 'embeddings': embeddings, 'x': x, 'noise': noise, 'image': image, 'mean': mean}


def expected(folder):
    """As our names have them: text encoders' with the prefix that published checkpoints have."""
    found = {}
    for part, file in (('unet', 'diffusion_pytorch_model'), ('vae', 'diffusion_pytorch_model'), ('text_encoder', 'model')):
        found[part] = {
            (name if part != 'text_encoder' or name.startswith('text_model.') else f'text_model.{name}'):
                [list(tensor.shape), hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]]
            for name, tensor in load_file(folder / part / f'{file}.safetensors').items() if not name.endswith('position_ids')}
    return found


if args.full:
    folder = args.out
    write(args.full, folder, True)
    convert(folder, folder.with_suffix('.safetensors'))
else:
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in ('sd1', 'sd2'):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / kind
            made = write(kind, folder, False)
            convert(folder, args.out / f'{kind}.safetensors')
            (args.out / f'{kind}.json').write_text(json.dumps(expected(folder), separators=(',', ':')))
            save_file({name: tensor.contiguous() for name, tensor in golden(made).items()},
                      args.out / f'{kind}-golden.safetensors')
