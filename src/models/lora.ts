// LoRA files: low-rank updates of weights, in the names of diffusers, of PEFT and of kohya's scripts. Everything in a file is applied, or the file is refused.
import { architectureOf, denoiserOf, withDenoiser, type Architecture } from './denoiser.js';
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { readSafetensors, readSafetensorsHeader } from '../engine/index.js';
import { toFloat32 } from '../engine/tensor.js';
import type { LowRankUpdate, ModelPart, SafetensorsHeader, Tensor } from '../engine/types.js';
import { DiffmineError } from '../util/errors.js';
import { parseJson } from '../util/json.js';
import type { ModelFolder } from './model.js';
import { isObject } from './json.js';
import { isPickle, pickleError } from './pickle.js';
import { hashWeights } from './weights.js';

/** The name of the file in a folder of low-rank updates, as diffusers has it. */
export const LORA_WEIGHTS = 'pytorch_lora_weights.safetensors';

const MERGE = 'Merge it into the model with the tool that made it.';

/** 'FILE[:scale]'. A file may have a colon in its name. */
export function parseLora(text: string): { file: string; scale: number } {
  const [, file = text, scale] = /^(.+):(-?\d*\.?\d+)$/.exec(text) ?? [];
  return { file, scale: scale === undefined ? 1 : Number(scale) };
}

/**
 * The model with LoRAs added to its weights when they are loaded.
 *
 * @throws MODEL_INVALID for a file that is not a LoRA of this model; MODEL_UNSUPPORTED naming what cannot be applied
 */
export async function applyLoras(model: ModelFolder, given: readonly string[]): Promise<ModelFolder> {
  if (given.length === 0) return model;
  const { lora } = denoiserOf(model.source);
  const all = [...(lora ? [lora] : []), ...(await Promise.all(given.map(located)))];
  const targets = targetsOf(model);
  const updates = new Map<Target['part'], LowRankUpdate[]>();
  const hash = createHash('sha256').update(JSON.stringify(['loras', model.fingerprint]));
  for (const { file, scale } of all) {
    const header = readSafetensorsHeader(file);
    for (const { part, ...update } of await updatesOf(file, header, scale, targets))
      updates.set(part, [...(updates.get(part) ?? []), update]);
    hash.update(String(scale));
    await hashWeights(hash, 'lora', { files: [file], headers: [header], bytes: [(await stat(file)).size] });
  }
  const fingerprint = hash.digest('hex');
  const { textEncoders } = model.source;
  return {
    ...model,
    source: {
      ...withDenoiser(model.source, ({ lora: _, ...own }) => updated(own, updates.get('denoiser'))),
      ...(textEncoders && {
        textEncoders: textEncoders.map((encoder, i) => updated(encoder, updates.get(i === 0 ? 'text' : 'text2'))),
      }),
    },
    fingerprint,
    summary: () => ({ ...model.summary(), loras: all.map(({ file, scale }) => ({ file, scale })), fingerprint }),
  };
}

const updated = <Config>(part: ModelPart<Config>, updates: LowRankUpdate[] | undefined): ModelPart<Config> =>
  updates ? { ...part, updates } : part;

async function located(text: string): Promise<{ file: string; scale: number }> {
  const whole = await stat(text).catch(() => undefined);
  const { file, scale } = whole ? { file: text, scale: 1 } : parseLora(text);
  const status = whole ?? (await stat(file).catch(() => undefined));
  if (!status)
    throw new DiffmineError(
      'MODEL_INVALID',
      `There is no LoRA file '${file}'.`,
      'Give FILE.safetensors, or FILE.safetensors:SCALE.',
    );
  if (isPickle(file)) throw pickleError(file);
  return { file: path.resolve(status.isDirectory() ? path.join(file, LORA_WEIGHTS) : file), scale };
}

interface Target {
  /** text2: of the second text encoder of SDXL and SD3 */
  part: 'denoiser' | 'text' | 'text2';
  /** as the store names it */
  weight: string;
}

/** Prefixes of the denoiser's modules; `kohya` names have underscores for dots. */
const PREFIXES: Record<'unet' | 'transformer', { prefixes: string[]; kohya: string[] }> = {
  unet: { prefixes: ['', 'unet.', 'base_model.model.'], kohya: ['lora_unet_'] },
  transformer: { prefixes: ['', 'transformer.', 'base_model.model.'], kohya: ['lora_transformer_'] },
};
const partOf = (kind: Architecture): 'unet' | 'transformer' => (kind === 'unet' ? 'unet' : 'transformer');

/** Every weight that can be updated, by the names that LoRA files have for its module. */
function targetsOf({ source }: ModelFolder): Map<string, Target[]> {
  const found = new Map<string, Target[]>();
  const add = (
    part: Target['part'],
    prefixes: readonly string[],
    kohya: readonly string[],
    weights: readonly string[],
  ): void => {
    for (const weight of weights) {
      if (!weight.endsWith('.weight')) continue;
      const stored = weight.slice(0, -'.weight'.length);
      // text encoders have the prefix in some files and not in others
      for (const module of part !== 'denoiser'
        ? [stored, stored.startsWith('text_model.') ? stored.slice(11) : `text_model.${stored}`]
        : [stored]) {
        for (const prefix of prefixes) found.set(`${prefix}${module}`, [{ part, weight }]);
        for (const prefix of kohya) found.set(`${prefix}${module.replaceAll('.', '_')}`, [{ part, weight }]);
      }
    }
  };
  const namesOf = (part: ModelPart<unknown>): string[] =>
    part.tensors
      ? part.tensors.map(({ name }) => name)
      : part.files.flatMap((file) => Object.keys(readSafetensorsHeader(file).tensors));
  const kind = architectureOf(source);
  const { prefixes, kohya } = PREFIXES[partOf(kind)];
  const own = namesOf(denoiserOf(source));
  add('denoiser', prefixes, kohya, own);
  if (kind === 'sd3')
    for (const [module, weights] of originalModules(own))
      found.set(
        `lora_unet_${module.replaceAll('.', '_')}`,
        weights.map((weight) => ({ part: 'denoiser', weight })),
      );
  const [first, second] = source.textEncoders ?? [];
  if (first) add('text', ['text_encoder.'], ['lora_te_', 'lora_te1_'], namesOf(first));
  if (second) add('text2', ['text_encoder_2.'], ['lora_te2_'], namesOf(second));
  return found;
}

/** Modules of Stable Diffusion 3's blocks under the names of its authors, which kohya's scripts keep: queries, keys and values are one module. */
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

const DOWN = /^(.+)[._](?:lora_A|lora_down|lora\.down|lora_linear_layer\.down)(?:\.default)?\.weight$/;
const UP = /^(.+)[._](?:lora_B|lora_up|lora\.up|lora_linear_layer\.up)(?:\.default)?\.weight$/;

/** Of attention processors in older files: attn1.processor.to_q is attn1.to_q. */
const moduleOf = (name: string): string =>
  name.replace(/\.processor\.(to_\w+)$/, (_, own: string) => `.${own === 'to_out' ? 'to_out.0' : own}`);

async function updatesOf(
  file: string,
  header: SafetensorsHeader,
  scale: number,
  targets: ReadonlyMap<string, readonly Target[]>,
): Promise<(LowRankUpdate & { part: Target['part'] })[]> {
  const modules = new Map<string, { down?: string; up?: string; alpha?: string }>();
  const of = (module: string): { down?: string; up?: string; alpha?: string } => {
    const found = modules.get(module) ?? {};
    modules.set(module, found);
    return found;
  };
  const stray: string[] = [];
  for (const name of Object.keys(header.tensors)) {
    const down = DOWN.exec(name)?.[1];
    const up = UP.exec(name)?.[1];
    if (down !== undefined) of(moduleOf(down)).down = name;
    else if (up !== undefined) of(moduleOf(up)).up = name;
    else if (name.endsWith('.alpha')) of(name.slice(0, -'.alpha'.length)).alpha = name;
    else stray.push(name);
  }
  const refuse = (what: string, names: readonly string[], hint = MERGE): DiffmineError =>
    new DiffmineError(
      'MODEL_UNSUPPORTED',
      `'${file}' ${what}: ${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}.`,
      hint,
    );
  if (modules.size === 0)
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${file}' has no LoRA weights.`,
      'Give a LoRA in the format of diffusers, PEFT or kohya.',
    );
  if (stray.length > 0)
    throw refuse(
      'has tensors that cannot be applied (only linear LoRA can, and that of convolutions without a middle)',
      stray,
    );
  const homeless = [...modules.keys()].filter((module) => !targets.has(module));
  if (homeless.length > 0)
    throw refuse('updates modules that the model does not have', homeless, 'Was it trained for this kind of model?');
  const torn = [...modules]
    .filter(([, { down, up }]) => down === undefined || up === undefined)
    .map(([module]) => module);
  if (torn.length > 0)
    throw refuse('lacks one of the two matrices of modules', torn, 'The file is damaged: download or export it again.');
  const alphas = readSafetensors(
    file,
    [...modules.values()].flatMap(({ alpha }) => alpha ?? []),
  );
  const common = await commonScale(file, header);
  return [...modules].flatMap(([module, { down = '', up = '', alpha }]) => {
    const rank = header.tensors[down]?.shape[0] ?? 1;
    const own = alpha === undefined ? common(module) : (toFloat32(alphas[alpha] as Tensor)[0] ?? NaN) / rank;
    if (!Number.isFinite(own))
      throw new DiffmineError('WEIGHTS_INVALID', `'${file}': the alpha of ${module} is not finite.`);
    const places = targets.get(module) ?? [];
    const each = (header.tensors[up]?.shape[0] ?? 0) / places.length;
    return places.map((place, i) => ({
      ...place,
      file,
      down,
      up,
      scale: scale * own,
      ...(places.length > 1 && { rows: [i * each, (i + 1) * each] as const }),
    }));
  });
}

/** alpha / rank of modules that have no alpha of their own: in the metadata that diffusers writes, or in PEFT's adapter_config.json beside the file. */
async function commonScale(file: string, { metadata }: SafetensorsHeader): Promise<(module: string) => number> {
  const text =
    metadata.lora_adapter_metadata ??
    (await readFile(path.join(path.dirname(file), 'adapter_config.json'), 'utf8').catch(() => undefined));
  if (text === undefined) return () => 1;
  let all: unknown;
  try {
    all = parseJson(text);
  } catch (cause) {
    throw new DiffmineError(
      'WEIGHTS_INVALID',
      `'${file}': its metadata is not valid JSON.`,
      'The file is damaged: download or export it again.',
      { cause },
    );
  }
  if (!isObject(all)) return () => 1;
  const config = all;
  const scaleFor = (prefix: string): number => {
    const get = (key: string): unknown => config[prefix + key];
    const filled = (key: string): boolean => isObject(get(key)) && Object.keys(get(key) as object).length > 0;
    if (get('use_rslora') === true || get('use_dora') === true || filled('alpha_pattern') || filled('rank_pattern'))
      throw new DiffmineError('MODEL_UNSUPPORTED', `'${file}': its modules have scales of different kinds.`, MERGE);
    const [rank, alpha] = [get('r'), get('lora_alpha')].map((value) => (typeof value === 'number' ? value : undefined));
    return rank === undefined ? 1 : (alpha ?? rank) / rank;
  };
  const prefixes = ['unet.', 'transformer.', 'text_encoder.', 'text_encoder_2.'];
  // of modules whose names begin with no part
  const denoiser = Object.keys(config).some((key) => key.startsWith('transformer.')) ? 'transformer.' : 'unet.';
  const prefixed = Object.keys(config).some((key) => prefixes.some((prefix) => key.startsWith(prefix)));
  return (module) => scaleFor(prefixed ? (prefixes.find((prefix) => module.startsWith(prefix)) ?? denoiser) : '');
}
