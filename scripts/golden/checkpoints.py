"""Tiny Stable Diffusion 1.x, 2.x and XL models as original checkpoints, written by diffusers' own converter, with what diffusers computes from their folders.

python scripts/golden/checkpoints.py DIFFUSERS OUT    DIFFUSERS is a checkout of its repository; OUT is test/data/checkpoints
Needs torch, diffusers, transformers and safetensors. Each OUT/NAME.safetensors goes with NAME.json: the tensors of the folder by name, with shape
and SHA-256 of their bytes, NAME-configs.json: its JSON files, and NAME-golden.safetensors: outputs in fp32.

With --full FOLDER: a folder of the size of Stable Diffusion 1.5 or 2.1 with random weights instead, and its checkpoint beside it.
"""
import argparse, hashlib, json, shutil, subprocess, sys, tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument('diffusers', type=Path)
parser.add_argument('out', type=Path)
parser.add_argument('--kind', action='append', choices=['sd1', 'sd2', 'sdxl'], help='instead of all; may be repeated')
parser.add_argument('--full', choices=['sd1', 'sd2'])
args = parser.parse_args()
sys.path.insert(0, str(args.diffusers / 'src'))
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection  # noqa: E402

CONVERTERS = {kind: args.diffusers / 'scripts' / f'convert_diffusers_to_original_{name}.py'
              for kind, name in (('sd1', 'stable_diffusion'), ('sd2', 'stable_diffusion'), ('sdxl', 'sdxl'))}
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


def xl_parts():
    """As SDXL: two text encoders, and several transformer layers in a block."""
    def text(cls, **config):
        return cls(CLIPTextConfig(vocab_size=694, hidden_size=64, intermediate_size=64, num_attention_heads=1, max_position_embeddings=77, **config))
    return {
        'unet': UNet2DConditionModel(
            sample_size=128, block_out_channels=[32, 32, 64], layers_per_block=2, cross_attention_dim=128, attention_head_dim=[1, 1, 1],
            down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
            up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'], transformer_layers_per_block=[1, 1, 2],
            norm_num_groups=32, use_linear_projection=True, addition_embed_type='text_time', addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=16 + 6 * 8),
        'vae': AutoencoderKL(
            block_out_channels=[32, 32, 32, 32], layers_per_block=2, latent_channels=4, norm_num_groups=32, sample_size=1024,
            down_block_types=['DownEncoderBlock2D'] * 4, up_block_types=['UpDecoderBlock2D'] * 4, scaling_factor=0.13025),
        'text_encoder': text(CLIPTextModel, num_hidden_layers=2, hidden_act='quick_gelu'),
        # the end of a text in the tiny tokenizer, as 49407 in the published one
        'text_encoder_2': text(CLIPTextModelWithProjection, num_hidden_layers=3, hidden_act='gelu', projection_dim=16, eos_token_id=693),
        'scheduler': EulerDiscreteScheduler(
            beta_schedule='scaled_linear', beta_start=0.00085, beta_end=0.012, steps_offset=1, timestep_spacing='leading'),
    }


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
    torch.manual_seed({'sd1': 7, 'sd2': 8, 'sdxl': 9}[kind])
    made = xl_parts() if kind == 'sdxl' else parts(kind, full)
    for name, part in made.items():
        if name != 'scheduler':
            if not full:
                coarse(part)
            part.half().eval()
        part.save_pretrained(folder / name)
    shutil.copytree(TOKENIZER, folder / 'tokenizer')
    if kind == 'sdxl':
        shutil.copytree(TOKENIZER, folder / 'tokenizer_2')
    names = {'unet': 'UNet2DConditionModel', 'vae': 'AutoencoderKL', 'scheduler': 'DDIMScheduler'}
    index = {name: ['diffusers', cls] for name, cls in names.items()}
    index |= {'text_encoder': ['transformers', 'CLIPTextModel'], 'tokenizer': ['transformers', 'CLIPTokenizer']}
    if kind == 'sdxl':
        index |= {'scheduler': ['diffusers', 'EulerDiscreteScheduler'], 'text_encoder_2': ['transformers', 'CLIPTextModelWithProjection'],
                  'tokenizer_2': ['transformers', 'CLIPTokenizer']}
    name = 'StableDiffusionXLPipeline' if kind == 'sdxl' else 'StableDiffusionPipeline'
    (folder / 'model_index.json').write_text(json.dumps({'_class_name': name, **index}))
    return made


def published(name):
    return name if name.startswith(('text_model.', 'text_projection.')) else f'text_model.{name}'


def convert(kind, folder, file):
    # transformers 5 leaves out a prefix that published folders have, and by which the converter knows 2.x
    for weights in folder.glob('text_encoder*/model.safetensors'):
        save_file({published(name): tensor for name, tensor in load_file(weights).items()}, weights, metadata={'format': 'pt'})
    subprocess.run([sys.executable, CONVERTERS[kind], '--model_path', folder, '--checkpoint_path', file, '--use_safetensors'],
                   check=True, stdout=subprocess.DEVNULL)


def xl_golden(made):
    torch.manual_seed(9)
    unet, vae, text, text2 = (made[name].float() for name in ('unet', 'vae', 'text_encoder', 'text_encoder_2'))
    ids = torch.randint(0, 692, (2, 77))
    ids[:, 20:] = 693
    image = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    x, time_ids = torch.randn(2, 4, 8, 8), torch.tensor([[64, 64, 0, 0, 64, 64], [96, 80, 8, 4, 64, 64]]).float()
    with torch.no_grad():
        second = text2(ids, output_hidden_states=True)
        embeddings = torch.cat([text(ids, output_hidden_states=True).hidden_states[-2], second.hidden_states[-2]], -1)
        pooled = second.text_embeds
        noise = unet(x, torch.tensor([10, 700]), embeddings, added_cond_kwargs={'text_embeds': pooled, 'time_ids': time_ids}).sample
        mean = vae.encode(image.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mean
    return {'ids': ids, 'embeddings': embeddings, 'pooled': pooled, 'time_ids': time_ids, 'x': x, 'noise': noise, 'image': image, 'mean': mean}


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
    for part, file in (('unet', 'diffusion_pytorch_model'), ('vae', 'diffusion_pytorch_model'), ('text_encoder', 'model'), ('text_encoder_2', 'model')):
        if not (folder / part).exists():
            continue
        found[part] = {
            (published(name) if file == 'model' else name):
                [list(tensor.shape), hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]]
            for name, tensor in load_file(folder / part / f'{file}.safetensors').items() if not name.endswith('position_ids')}
    return found


if args.full:
    folder = args.out
    write(args.full, folder, True)
    convert(args.full, folder, folder.with_suffix('.safetensors'))
else:
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in args.kind or ('sd1', 'sd2', 'sdxl'):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / kind
            made = write(kind, folder, False)
            convert(kind, folder, args.out / f'{kind}.safetensors')
            (args.out / f'{kind}.json').write_text(json.dumps(expected(folder), separators=(',', ':')))
            configs = {str(one.relative_to(folder)): json.loads(one.read_text()) for one in sorted(folder.rglob('*.json')) if 'tokenizer' not in str(one)}
            (args.out / f'{kind}-configs.json').write_text(json.dumps(configs, indent=1) + '\n')
            save_file({name: tensor.contiguous() for name, tensor in (xl_golden if kind == 'sdxl' else golden)(made).items()},
                      args.out / f'{kind}-golden.safetensors')
