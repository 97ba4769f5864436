// A model folder in diffusers' layout while it is opened. What is read of it also goes into the model's fingerprint.
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { isFolder } from '../util/paths.js';
import type { LoadedPart } from './fit.js';
import { readJsonObject, type JsonObject } from './json.js';
import { IGNORED, isComponent, KNOWN } from './parts.js';
import { findWeights, hashWeights } from './weights.js';

const COMPLETE = 'Give a complete diffusers model folder.';
const MODELS =
  'Give a complete diffusers model folder, a checkpoint (FILE.safetensors), or owner/name of the Hugging Face hub, such as stable-diffusion-v1-5/stable-diffusion-v1-5:fp16.';

export class Opening {
  readonly root: string;
  private readonly hash = createHash('sha256');

  private constructor(
    /** as given, for messages */
    readonly location: string,
    /** model_index.json */
    readonly index: JsonObject,
    private readonly variant: string | undefined,
  ) {
    this.root = path.resolve(location);
  }

  /**
   * @param variant of the weights
   * @throws MODEL_INVALID if there is no such folder, MODEL_UNSUPPORTED for a component that diffmine does not have
   */
  static async begin(location: string, variant: string | undefined): Promise<Opening> {
    await checkFolder(location);
    const index = await readJsonObject(path.join(path.resolve(location), 'model_index.json'));
    const opening = new Opening(location, index, variant);
    for (const [name, value] of Object.entries(index))
      if (isComponent(value) && !KNOWN.has(name) && !IGNORED.has(name)) throw opening.unsupported(name);
    await opening.config('model_index.json');
    return opening;
  }

  /** Whether model_index.json lists a component. */
  lists(component: string): boolean {
    return isComponent(this.index[component]);
  }

  async has(folder: string): Promise<boolean> {
    return isFolder(path.join(this.root, folder));
  }

  /** @throws MODEL_INVALID if there is no such folder */
  async need(folder: string, why: string): Promise<void> {
    if (!(await this.has(folder))) throw this.absent(folder, why);
  }

  absent(folder: string, why: string): DiffmineError {
    return new DiffmineError(
      'MODEL_INVALID',
      `The model '${this.location}' has no ${folder}/ folder, but ${why}.`,
      COMPLETE,
    );
  }

  unsupported(component: string): DiffmineError {
    const [, type] = this.index[component] as unknown[];
    return new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The model '${this.location}' has a component '${component}' (${String(type)}), which is not supported.`,
      'Supported components: unet or transformer, vae, text_encoder, tokenizer and scheduler, as in Stable Diffusion 1.x, 2.x, XL and 3 and in DiT.',
    );
  }

  /** Reads a configuration. */
  async config(...names: string[]): Promise<[file: string, json: JsonObject]> {
    const file = path.join(this.root, ...names);
    const json = await readJsonObject(file);
    this.addToFingerprint([names.join('/'), await readFile(file, 'utf8')]);
    return [file, json];
  }

  /** Finds the weights of a part whose configuration was read. */
  async part<Config>(name: string, config: Config): Promise<LoadedPart<Config>> {
    const weights = await findWeights(path.join(this.root, name), this.variant);
    return { name, config, weights, files: weights.files };
  }

  addToFingerprint(value: unknown): void {
    this.hash.update(JSON.stringify(value));
  }

  /** The fingerprint of all that was read, and of the weights of these parts. */
  async fingerprint(parts: Readonly<Record<string, LoadedPart<unknown> | undefined>>): Promise<string> {
    for (const [name, loaded] of Object.entries(parts)) if (loaded) await hashWeights(this.hash, name, loaded.weights);
    return this.hash.digest('hex');
  }
}

async function checkFolder(location: string): Promise<void> {
  const status = await stat(location).catch(() => undefined);
  if (!status) throw new DiffmineError('MODEL_INVALID', `There is no model folder '${location}'.`, MODELS);
  if (!status.isDirectory())
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${location}' is a file, not a model.`,
      'Give a model folder, or a checkpoint whose name ends in .safetensors.',
    );
  if (!(await stat(path.join(location, 'model_index.json')).catch(() => undefined))) {
    throw new DiffmineError(
      'MODEL_INVALID',
      `'${location}' has no model_index.json: it is not a diffusers model folder.`,
      'A model folder has model_index.json, unet/, scheduler/ and, depending on the model, vae/, text_encoder/, tokenizer/.',
    );
  }
}
