// Scores single images, without a dataset or a run directory: the model stays loaded between images. The numbers are those of a scan with the same options.
import type { z } from 'zod';
import { fillPrompt, readImage, type SizeOptions } from '../../data/index.js';
import { Engine, float32, type Conditions } from '../../engine/index.js';
import type { SamplerName, ScoredPatch } from '../../engine/types.js';
import {
  checkNullCondition,
  defaultSize,
  openModel,
  nullCondition,
  prepareConditions,
  modelOptions,
  type ModelFolder,
} from '../../models/index.js';
import { scoredRange } from '../../models/training.js';
import { resolved } from '../../options/check.js';
import type { Range } from '../../options/fields.js';
import { check, presetOptions, timesteps } from '../../pipeline/resolve.js';
import { SCORER, type ScorerOptions } from './scorer-options.js';
import { findDevice, withDtype } from '../../runs/device.js';
import { chooseDtype } from '../../runs/dtype.js';
import { randomKey } from '../../runs/fingerprint.js';

export type { ScorerOptions } from './scorer-options.js';

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

/** A loaded model that scores single images, each under one label and against the null condition: an image alone has no other labels. */
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
   * @param hooks signal: ends the loading
   * @throws INVALID_ARGUMENT, MODEL_INVALID, MODEL_UNSUPPORTED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY; CANCELLED
   */
  static async open(options: ScorerOptions, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Scorer> {
    const asked = resolved(SCORER, options, presetOptions(options.preset));
    const { device, threads = 0 } = asked;
    const model = await openModel(asked.model, modelOptions(asked), { signal });
    await checkNullCondition(
      model,
      { named: false, what: 'A Scorer compares with it', instead: 'Scan a dataset with `against` others' },
      undefined,
    );
    const settings = settingsOf(asked, model, await scoredRange(asked.tRange, model));
    const found = findDevice(device);
    const dtype = chooseDtype(asked.dtype, found);
    const { id } = withDtype(found, dtype);
    const engine = new Engine({ device: id, dtype, threads });
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
        keys: [randomKey(name)],
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
    const names = prompt === null ? [label, ''] : [fillPrompt(prompt, label), nullCondition(nullPrompt)];
    const prepared = prepareConditions(this.engine, this.model, names);
    this.conditions.set(label, prepared);
    prepared.catch(() => this.conditions.delete(label)); // so that the next call tries again
    return prepared;
  }
}

function settingsOf(options: z.output<typeof SCORER>, model: ModelFolder, range: Range): Settings {
  const { samples, seed, sampler, perImage, batch, sizeRule, nullPrompt } = options;
  const size = options.size ?? defaultSize(model);
  const patch = options.patch ?? Math.max(1, Math.floor((size === 'source' ? model.sampleSize : size) / 8));
  if (size !== 'source')
    check(
      patch <= size,
      `A patch of ${patch} px is larger than the images' short side of ${size} px.`,
      'Give a smaller `patch` or a larger `size`.',
    );
  return {
    sizes: { size, rule: sizeRule, multiple: model.sizeMultiple, patch },
    prompt: model.conditioning === 'text' ? options.prompt : null,
    nullPrompt,
    scoring: {
      samples,
      seed,
      ...timesteps(range, model.source.schedule.trainTimesteps),
      sampler,
      patch,
      perImage,
      batch,
    },
  };
}
