// An original checkpoint's tensors, sorted into the parts of a model. Nothing but the header is read.
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { readSafetensorsHeader } from '../../engine/index.js';
import type { RenamedTensor, SafetensorsHeader } from '../../engine/types.js';
import { DiffmineError } from '../../util/errors.js';
import type { Weights } from '../weights.js';
import { clipName, openClipName, unetName, vaeName, type Translated } from './names.js';

/** A part's weights, and what its tensors are called in the file. */
export interface CheckpointPart {
  weights: Weights;
  tensors: RenamedTensor[];
}

export interface Checkpoint {
  file: string;
  bytes: number;
  header: SafetensorsHeader;
  unet: CheckpointPart;
  vae: CheckpointPart | undefined;
  text: CheckpointPart | undefined;
  /** of SDXL */
  text2: CheckpointPart | undefined;
  /** by the text encoders: CLIP's in 1.x, OpenCLIP's in 2.x, both in XL */
  kind: '1' | '2' | 'xl';
  /** '' for the only weights of the UNet that there are */
  variant: string;
}

const UNET = 'model.diffusion_model.';
const EMA = 'model_ema.';
const VAE = 'first_stage_model.';
const CLIP = 'cond_stage_model.transformer.';
const OPENCLIP = 'cond_stage_model.model.';
const XL_CLIP = 'conditioner.embedders.0.transformer.';
const XL_OPENCLIP = 'conditioner.embedders.1.model.';

/**
 * Tables of the noise schedule, counters of the training, and what is not used: CLIP's projection, and in 2.x the last layer of OpenCLIP, whose input is
 * the text's embedding.
 */
const UNUSED =
  /^(betas|logvar|denoiser\.sigmas|conditioner\.embedders\.1\.model\.attn_mask|lvlb_weights|global_step|alphas_cumprod.*|sqrt_.*|log_one_minus.*|posterior_.*|model_ema\.(decay|num_updates)|first_stage_model\.loss\..*|cond_stage_model\.model\.(text_projection|attn_mask|transformer\.resblocks\.23\..*)|.*\.(position_ids|logit_scale|transformer\.text_projection\.weight))$/;

/** Models that have a transformer in the UNet's place, under the same prefix. */
const TRANSFORMER = /^model\.diffusion_model\.(joint|double)_blocks\./;

/** Whether a file is one of these, by its tensors' names. */
export const isCheckpoint = ({ tensors }: SafetensorsHeader): boolean =>
  Object.keys(tensors).some((name) => name.startsWith(UNET));

/**
 * @param variant of the UNet: 'ema' or 'non_ema', where the file has both; default: ema
 * @throws MODEL_UNSUPPORTED for other kinds of checkpoints, INVALID_ARGUMENT for a variant that it does not have; MODEL_INVALID naming a tensor that has no place
 */
export async function readCheckpoint(location: string, variant: string | undefined): Promise<Checkpoint> {
  const file = path.resolve(location);
  const header = readSafetensorsHeader(file);
  const { size } = await stat(file);
  const names = Object.keys(header.tensors);
  if (!isCheckpoint(header) || names.some((name) => TRANSFORMER.test(name))) throw notOne(location, names);
  if (names.some((name) => name.startsWith('conditioner.embedders.0.model.')))
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `'${location}' is the refiner of SDXL, which continues images of another model.`,
      'Give the checkpoint of the base model.',
    );
  const hasEma = names.some((name) => name.startsWith(`${EMA}diffusion_model`));
  const chosen = variant ?? (hasEma ? 'ema' : '');
  if (variant !== undefined && (!['ema', 'non_ema'].includes(variant) || (variant === 'ema' && !hasEma)))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `'${location}' has no weights of the variant '${variant}'.`,
      hasEma ? 'Its variants: ema, non_ema.' : 'It has one set of weights: leave `variant` out.',
    );
  // an average is stored under the name of its weights, without the dots
  const stored = (name: string): string =>
    chosen === 'ema' ? EMA + name.slice('model.'.length).replaceAll('.', '') : name;
  const has = (prefix: string): boolean => names.some((name) => name.startsWith(prefix));
  const kind = has('conditioner.') ? 'xl' : has(OPENCLIP) ? '2' : '1';
  const layers = countOf(names, /^model\.diffusion_model\.input_blocks\.(\d+)\.0\.op\.weight$/) - 1;
  const blocks = 1 + countOf(names, /^first_stage_model\.encoder\.down\.(\d+)\./, Math.max);
  const parts: Record<string, CheckpointPart> = {};
  const unknown: string[] = [];
  const add = (part: string, name: string, source: string, translated: Translated): void => {
    const list = translated === undefined ? [] : 'name' in translated ? [translated] : translated;
    if (list.length === 0) unknown.push(name);
    parts[part] ??= {
      weights: { files: [file], variant: chosen, variants: [], headers: [{ tensors: {}, metadata: {} }], bytes: [0] },
      tensors: [],
    };
    const { weights, tensors } = parts[part];
    const info = header.tensors[source];
    if (!info)
      throw new DiffmineError(
        'MODEL_INVALID',
        `'${location}' has no average of '${name}' ('${source}').`,
        'Choose `variant` non_ema.',
      );
    for (const one of list) {
      const shape = one.shape ?? (one.rows ? [one.rows[1] - one.rows[0], ...info.shape.slice(1)] : info.shape);
      const bytes = info.bytes / list.length;
      (weights.headers[0] as SafetensorsHeader).tensors[one.name] = { ...info, shape, bytes };
      weights.bytes[0] = (weights.bytes[0] ?? 0) + bytes;
      tensors.push({ ...one, stored: source });
    }
  };
  for (const name of names) {
    const { shape } = header.tensors[name] as { shape: number[] };
    if (UNUSED.test(name) || name.startsWith(EMA)) continue;
    if (name.startsWith(UNET)) add('unet', name, stored(name), unetName(name.slice(UNET.length), layers));
    else if (name.startsWith(VAE)) add('vae', name, name, vaeName(name.slice(VAE.length), blocks, shape));
    else if (name.startsWith(CLIP)) add('text', name, name, clipName(name.slice(CLIP.length)));
    else if (name.startsWith(OPENCLIP)) add('text', name, name, openClipName(name.slice(OPENCLIP.length), shape));
    else if (name.startsWith(XL_CLIP)) add('text', name, name, clipName(name.slice(XL_CLIP.length)));
    else if (name.startsWith(XL_OPENCLIP))
      add('text2', name, name, openClipName(name.slice(XL_OPENCLIP.length), shape));
    else unknown.push(name);
  }
  if (unknown.length > 0)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `'${location}' has tensors that are no part of Stable Diffusion 1.x, 2.x or XL: ${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ` and ${unknown.length - 5} more` : ''}.`,
      'Supported are checkpoints of these models, in the format of their authors.',
    );
  return {
    file,
    bytes: size,
    header,
    unet: parts.unet as CheckpointPart,
    vae: parts.vae,
    text: parts.text,
    text2: parts.text2,
    kind,
    variant: chosen,
  };
}

/**
 * The tensors of a VAE in the original format, alone in a file, with or without the prefix that they have in a checkpoint; undefined for one in the
 * format of diffusers.
 *
 * @throws MODEL_UNSUPPORTED naming a tensor that has no place
 */
export function vaeTensors({ tensors }: SafetensorsHeader): RenamedTensor[] | undefined {
  const names = Object.keys(tensors).filter(
    (name) => !UNUSED.test(name) && !name.startsWith('loss.') && !name.startsWith(EMA),
  );
  const bare = (name: string): string => (name.startsWith(VAE) ? name.slice(VAE.length) : name);
  if (!names.some((name) => /^encoder\.(down\.\d|mid\.)/.test(bare(name)))) return undefined;
  const blocks = 1 + countOf(names, /encoder\.down\.(\d+)\./, Math.max);
  return names.flatMap((stored) => {
    if (stored.startsWith(UNET) || /^(cond_stage_model|conditioner)\./.test(stored)) return [];
    const found = vaeName(bare(stored), blocks, tensors[stored]?.shape ?? []);
    if (found && 'name' in found) return [{ ...found, stored }];
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The VAE has a tensor '${stored}' that does not belong to an AutoencoderKL.`,
    );
  });
}

/** The first (or another choice) of the numbers that names have. */
function countOf(
  names: readonly string[],
  pattern: RegExp,
  choose: (...numbers: number[]) => number = Math.min,
): number {
  const found = names.flatMap((name) => pattern.exec(name)?.[1] ?? []).map(Number);
  return found.length === 0 ? 0 : choose(...found);
}

/** What other files are, by their tensors' names, and what to do with them. */
const OTHERS: readonly (readonly [names: RegExp, what: string, hint?: string])[] = [
  [/(^|\.)joint_blocks\.\d/, 'Stable Diffusion 3', 'Give its model folder, as diffusers has it.'],
  [
    /(^|\.)double_blocks\.\d/,
    'a model of the kind of Flux',
    'Supported are Stable Diffusion 1.x, 2.x, XL and 3, and DiT.',
  ],
  [/lora_|\.lora|\.hada_|\.lokr_/, 'a LoRA', 'Give it as `lora`, beside a model.'],
  [/^(control_model|controlnet_|input_hint_block)/, 'a ControlNet', 'It guides a model: give that model.'],
  [/^(emb_params|string_to_param.*|clip_[lg])$/, 'a textual inversion', 'It adds a word to a model: give that model.'],
  [/^(encoder\.block|text_model|model\.text_model)\./, 'a text encoder'],
  [/^(first_stage_model|encoder|decoder)\./, 'a VAE', 'Give it as `vae`, beside a model.'],
  [/^down_blocks\./, 'the UNet of a model folder'],
  [/^(transformer_blocks|blocks)\./, 'the transformer of a model folder'],
];

function notOne(location: string, names: readonly string[]): DiffmineError {
  const [, what, hint] = OTHERS.find(([pattern]) => names.some((name) => pattern.test(name))) ?? [];
  return new DiffmineError(
    'MODEL_INVALID',
    `'${location}' is not a checkpoint of Stable Diffusion 1.x, 2.x or XL${what ? `: it is ${what}` : ''}.`,
    hint ??
      'Give a model folder, or a checkpoint whose tensors begin with model.diffusion_model, first_stage_model and cond_stage_model (SDXL: conditioner).',
  );
}
