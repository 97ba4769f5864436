// LoRA files: low-rank updates of weights, in the names of diffusers, of PEFT and of kohya's scripts. Everything in a file is applied, or the file is refused.
import { denoiserOf, withDenoiser } from './denoiser.js';
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { readSafetensors, readSafetensorsHeader } from '../engine/index.js';
import { toFloat32 } from '../engine/tensor.js';
import type { LowRankUpdate, ModelPart, SafetensorsHeader, Tensor } from '../engine/types.js';
import { DiffmineError } from '../util/errors.js';
import { parseJson } from '../util/json.js';
import { targetsOf, type Target } from './lora-targets.js';
import type { ModelFolder } from './model.js';
import { isObject } from './json.js';
import { isPickle, pickleError } from './pickle.js';
import { hashWeights } from './weights.js';

/** The name of the file in a folder of low-rank updates, as diffusers has it. */
export const LORA_WEIGHTS = 'pytorch_lora_weights.safetensors';

const FORMATS = 'Give a LoRA in the format of diffusers, PEFT or kohya.';
/** Other ways to store an update, which LyCORIS writes: LoHa, LoKr, IA3, OFT. */
const LYCORIS = /\.(?:hada_|lokr_|oft_|on_input$|diff)/;
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
  const refuse = (
    what: string,
    names: readonly string[],
    hint = MERGE,
    code: 'MODEL_UNSUPPORTED' | 'MODEL_INVALID' = 'MODEL_UNSUPPORTED',
  ): DiffmineError =>
    new DiffmineError(
      code,
      `'${file}' ${what}: ${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}.`,
      hint,
    );
  if (modules.size === 0 && stray.length === 0)
    throw new DiffmineError('MODEL_INVALID', `'${file}' has no tensors.`, FORMATS);
  if (modules.size === 0 && !stray.some((name) => LYCORIS.test(name)))
    throw refuse('has no LoRA weights, but', stray, FORMATS, 'MODEL_INVALID');
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
    if (!Number.isFinite(own) || own === 0)
      throw new DiffmineError(
        'WEIGHTS_INVALID',
        `'${file}': the alpha of ${module} is ${own === 0 ? '0, so its update changes nothing' : 'not finite'}.`,
        'The file is damaged, or was exported wrongly: export it again.',
      );
    const places = targets.get(module) ?? [];
    const misfit = places.find(
      ({ shape }) => !fits(header.tensors[down]?.shape, header.tensors[up]?.shape, shape, places.length),
    );
    if (misfit)
      throw new DiffmineError(
        'MODEL_INVALID',
        `'${file}': the LoRA of '${misfit.weight}' does not have the shape of the weight.`,
        'Was it trained from this model?',
      );
    const each = (header.tensors[up]?.shape[0] ?? 0) / places.length;
    return places.map(({ part, weight }, i) => ({
      ...{ part, weight },
      file,
      down,
      up,
      scale: scale * own,
      ...(places.length > 1 && { rows: [i * each, (i + 1) * each] as const }),
    }));
  });
}

/** Whether the matrices multiply to the shape of a weight, of which the module has several of the same size. As cpp/weights/lora.cpp checks when it loads. */
function fits(
  down: readonly number[] = [],
  up: readonly number[] = [],
  weight: readonly number[],
  parts: number,
): boolean {
  const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
  const [rows = 0, rank = 0] = [up[0], down[0]];
  return (
    up.length >= 2 &&
    down.length >= 2 &&
    rows === parts * (weight[0] ?? 0) &&
    count(up) === rows * rank &&
    rows * (count(down) / rank) === parts * count(weight)
  );
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
