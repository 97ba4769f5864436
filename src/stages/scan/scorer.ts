// Scores single images, without a dataset or a run folder: the model stays loaded between images. The numbers are those of a scan with the same options.
import { fillPrompt, readImage, type SizeOptions } from '../../data/index.js';
import { Engine, float32, type Conditions } from '../../engine/index.js';
import type { Dtype, SamplerName, ScoredPatch } from '../../engine/types.js';
import { defaultSize, openModel, prepareConditions, variantOf, type ModelFolder } from '../../models/index.js';
import { check, presetOf, timesteps, wholeNumber } from '../../pipeline/resolve.js';
import { chooseDevice } from '../../runs/device.js';
import { imageKey } from '../../runs/fingerprint.js';
import type { ScanOptions } from './options.js';

/** Options of a scan that affect the scores of one image, with the same defaults, except that `batch` is 8. */
export type ScorerOptions = Pick<
  ScanOptions,
  | 'model'
  | 'variant'
  | 'device'
  | 'dtype'
  | 'threads'
  | 'preset'
  | 'prompt'
  | 'nullPrompt'
  | 'size'
  | 'sizeRule'
  | 'patch'
  | 'samples'
  | 'seed'
  | 'sampler'
  | 'perImage'
> & { batch?: number; tRange?: readonly [number, number] };

export interface ScoreOptions {
  /** the label to score under: typicality is the loss without it minus the loss with it */
  label: string;
  /** name of the image in a dataset, which the random patches depend on; default: the given path */
  name?: string;
  signal?: AbortSignal | undefined;
}

/** A patch in pixels of the upright source image. */
export interface ImagePatch {
  x: number;
  y: number;
  width: number;
  height: number;
  typicality: number;
  /** null for one sample */
  standardError: number | null;
}

export interface ImageScore {
  /** mean over the image */
  typicality: number;
  /** mean typicality by cell of the model's input, row-major; positive where the label helps the model to denoise */
  map: { values: Float32Array; width: number; height: number };
  /** non-overlapping patches of highest typicality, best first */
  patches: ImagePatch[];
  /** patches of lowest typicality, lowest first, and random ones, as a control */
  bottom: ImagePatch[];
  random: ImagePatch[];
}

interface Settings {
  sizes: SizeOptions;
  prompt: string | null;
  nullPrompt: string;
  scoring: {
    samples: number;
    seed: number;
    tBegin: number;
    tEnd: number;
    sampler: SamplerName;
    patch: number;
    perImage: number;
    batch: number;
  };
}

export class Scorer {
  /** prepared once per label */
  private readonly conditions = new Map<string, Promise<Conditions>>();

  private constructor(
    readonly model: ModelFolder,
    /** `cpu`, `cuda:0` */
    readonly device: string,
    private readonly engine: Engine,
    private readonly settings: Settings,
  ) {}

  /**
   * Loads a model onto a device.
   *
   * @throws INVALID_ARGUMENT, MODEL_INVALID, MODEL_UNSUPPORTED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY; CANCELLED
   */
  static async open(options: ScorerOptions, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Scorer> {
    const model = await openModel(options.model, variantOf(options));
    const settings = resolve(options, model);
    const dtype: Dtype = options.dtype ?? 'fp32';
    const { id } = chooseDevice(options.device ?? 'auto', dtype);
    const engine = new Engine({ device: id, dtype, threads: options.threads ?? 0 });
    try {
      await engine.loadModel(model.source, { signal });
    } catch (error) {
      await engine.dispose();
      throw error;
    }
    return new Scorer(model, id, engine, settings);
  }

  /**
   * Scores an image file under a label. Calls may overlap; the engine runs them in order.
   *
   * @throws IMAGE_UNREADABLE; INVALID_ARGUMENT if a class model does not know the label; NUMERICS; CANCELLED
   */
  async score(file: string, { label, name = file, signal }: ScoreOptions): Promise<ImageScore> {
    const { sizes, scoring } = this.settings;
    const call = { signal };
    const conditions = await this.conditionsOf(label);
    const { pixels, width, height, sourceWidth, sourceHeight, resized } = await readImage(file, sizes);
    const { outputs } = await this.engine.scoreTypicality(
      conditions,
      {
        images: [{ pixels, width, height }],
        conditions: [[0, 1]],
        subjects: [[0]],
        weights: [[[0, 1]]],
        keys: [imageKey(name)],
      },
      { ...scoring, keepMaps: true },
      call,
    );
    const output = outputs[0]?.[0];
    const [rows = 0, columns = 0] = output?.map?.shape ?? [];
    const across = sourceWidth / resized.width;
    const down = sourceHeight / resized.height;
    const inSource = ({ row, column, score, standardError }: ScoredPatch): ImagePatch => ({
      x: column * across,
      y: row * down,
      width: scoring.patch * across,
      height: scoring.patch * down,
      typicality: score,
      standardError,
    });
    return {
      typicality: output?.mean ?? NaN,
      map: { values: output?.map ? float32(output.map) : new Float32Array(), width: columns, height: rows },
      patches: (output?.top ?? []).map(inSource),
      bottom: (output?.bottom ?? []).map(inSource),
      random: (output?.random ?? []).map(inSource),
    };
  }

  /** Waits for running calls, then frees the model. */
  async close(): Promise<void> {
    await this.engine.dispose();
  }

  private conditionsOf(label: string): Promise<Conditions> {
    const known = this.conditions.get(label);
    if (known) return known;
    const { prompt, nullPrompt } = this.settings;
    const names = prompt === null ? [label, ''] : [fillPrompt(prompt, label), nullPrompt];
    const prepared = prepareConditions(this.engine, this.model, names);
    this.conditions.set(label, prepared);
    prepared.catch(() => this.conditions.delete(label)); // so that the next call tries again
    return prepared;
  }
}

function resolve(options: ScorerOptions, model: ModelFolder): Settings {
  const preset = presetOf(options.preset);
  const size = options.size ?? preset?.size ?? defaultSize(model);
  if (size !== 'source') wholeNumber(size, 1, '--size');
  const patch = wholeNumber(
    options.patch ?? preset?.patch ?? Math.max(1, Math.floor((size === 'source' ? model.sampleSize : size) / 8)),
    1,
    '--patch',
  );
  if (size !== 'source')
    check(patch <= size, `A patch of ${patch} px is larger than the images' short side of ${size} px.`);
  return {
    sizes: { size, rule: options.sizeRule ?? preset?.sizeRule ?? 'floor', multiple: model.sizeMultiple, patch },
    prompt: model.conditioning === 'text' ? (options.prompt ?? preset?.prompt ?? '{label}') : null,
    nullPrompt: options.nullPrompt ?? preset?.nullPrompt ?? '',
    scoring: {
      samples: wholeNumber(options.samples ?? 100, 1, '--samples'),
      seed: wholeNumber(options.seed ?? 0, 0, '--seed'),
      ...timesteps(options.tRange ?? preset?.timesteps ?? [0.1, 0.7], model.source.schedule.trainTimesteps),
      sampler: options.sampler ?? 'stratified',
      patch,
      perImage: wholeNumber(options.perImage ?? 5, 1, '--per-image'),
      batch: wholeNumber(options.batch ?? 8, 2, '--batch'),
    },
  };
}
