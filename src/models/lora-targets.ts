// The weights that a LoRA can update, by the names that LoRA files have for their modules.
import { readSafetensorsHeader } from '../engine/index.js';
import type { ModelPart } from '../engine/types.js';
import { unetOriginals } from './checkpoint/names.js';
import { architectureOf, denoiserOf, type Architecture } from './denoiser.js';
import type { ModelFolder } from './model.js';

export interface Target {
  /** text2: of the second text encoder of SDXL and SD3 */
  part: 'denoiser' | 'text' | 'text2';
  /** as the store names it */
  weight: string;
  shape: readonly number[];
}

/** Prefixes of the denoiser's modules; `kohya` names have underscores for dots. */
const PREFIXES: Record<'unet' | 'transformer', { prefixes: string[]; kohya: string[] }> = {
  unet: { prefixes: ['', 'unet.', 'base_model.model.'], kohya: ['lora_unet_'] },
  transformer: { prefixes: ['', 'transformer.', 'base_model.model.'], kohya: ['lora_transformer_'] },
};
const partOf = (kind: Architecture): 'unet' | 'transformer' => (kind === 'unet' ? 'unet' : 'transformer');

/** Names of weights, and their shapes. */
type Weights = ReadonlyMap<string, readonly number[]>;

function weightsOf({ files, tensors }: ModelPart<unknown>): Weights {
  const stored = new Map(
    files.flatMap((file) =>
      Object.entries(readSafetensorsHeader(file).tensors).map(([name, { shape }]) => [name, shape] as const),
    ),
  );
  if (!tensors) return stored;
  return new Map(
    tensors.map(({ name, stored: source, rows, transposed, shape }) => {
      const whole = stored.get(source) ?? [];
      const own = rows ? [rows[1] - rows[0], ...whole.slice(1)] : whole;
      return [name, shape ?? (transposed ? [...own].reverse() : own)];
    }),
  );
}

/** Every weight that can be updated, by the names that LoRA files have for its module. */
export function targetsOf({ source }: ModelFolder): Map<string, Target[]> {
  const found = new Map<string, Target[]>();
  const add = (part: Target['part'], prefixes: readonly string[], kohya: readonly string[], weights: Weights): void => {
    for (const [weight, shape] of weights) {
      if (!weight.endsWith('.weight')) continue;
      const stored = weight.slice(0, -'.weight'.length);
      // text encoders have the prefix in some files and not in others
      for (const module of part !== 'denoiser'
        ? [stored, stored.startsWith('text_model.') ? stored.slice(11) : `text_model.${stored}`]
        : [stored]) {
        for (const prefix of prefixes) found.set(`${prefix}${module}`, [{ part, weight, shape }]);
        for (const prefix of kohya) found.set(`${prefix}${module.replaceAll('.', '_')}`, [{ part, weight, shape }]);
      }
    }
  };
  const kind = architectureOf(source);
  const { prefixes, kohya } = PREFIXES[partOf(kind)];
  const shapes = weightsOf(denoiserOf(source));
  const own = [...shapes.keys()];
  add('denoiser', prefixes, kohya, shapes);
  // kohya's scripts keep the names of the authors for Stable Diffusion XL and 3
  for (const [module, weights] of kind === 'sd3' ? originalModules(own) : kind === 'unet' ? unetOriginals(own) : [])
    found.set(
      `lora_unet_${module.replaceAll('.', '_')}`,
      weights.map((weight) => ({ part: 'denoiser', weight, shape: shapes.get(weight) ?? [] })),
    );
  const [first, second] = source.textEncoders ?? [];
  if (first) add('text', ['text_encoder.'], ['lora_te_', 'lora_te1_'], weightsOf(first));
  if (second) add('text2', ['text_encoder_2.'], ['lora_te2_'], weightsOf(second));
  return found;
}

/** Modules of Stable Diffusion 3's blocks under the names of its authors: queries, keys and values are one module. */
const SD3_MODULES: Record<string, string[]> = {
  'x_block.attn.qkv': ['attn.to_q', 'attn.to_k', 'attn.to_v'],
  'x_block.attn.proj': ['attn.to_out.0'],
  'x_block.attn2.qkv': ['attn2.to_q', 'attn2.to_k', 'attn2.to_v'],
  'x_block.attn2.proj': ['attn2.to_out.0'],
  'x_block.mlp.fc1': ['ff.net.0.proj'],
  'x_block.mlp.fc2': ['ff.net.2'],
  'x_block.adaLN_modulation.1': ['norm1.linear'],
  'context_block.attn.qkv': ['attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'],
  'context_block.attn.proj': ['attn.to_add_out'],
  'context_block.mlp.fc1': ['ff_context.net.0.proj'],
  'context_block.mlp.fc2': ['ff_context.net.2'],
};

/** Original modules with the weights that they are. Those whose rows diffusers has in another order are left out, and so refused. */
function originalModules(weights: readonly string[]): Map<string, string[]> {
  const there = new Set(weights);
  const found = new Map<string, string[]>();
  for (let block = 0; there.has(`transformer_blocks.${block}.attn.to_q.weight`); block++)
    for (const [module, own] of Object.entries(SD3_MODULES)) {
      const named = own.map((name) => `transformer_blocks.${block}.${name}.weight`);
      if (named.every((name) => there.has(name))) found.set(`joint_blocks.${block}.${module}`, named);
    }
  if (there.has('context_embedder.weight')) found.set('context_embedder', ['context_embedder.weight']);
  return found;
}
