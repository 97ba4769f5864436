// Does one shard of sequences: scores every image under the label it shows, takes the median over labels, selects places, computes their features.
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  measureImage,
  prefetch,
  readImage,
  scoredSize,
  type ReadImage,
  type Size,
  type SizeOptions,
} from '../../data/index.js';
import { DiffmineError, reasonAlone } from '../../util/errors.js';
import { fromFloat32, toFloat16, writeSafetensors, type Conditions, type Engine } from '../../engine/index.js';
import { concatenate } from '../../engine/join.js';
import type { Tensor, TypicalityOutput } from '../../engine/types.js';
import { randomKey } from '../../runs/fingerprint.js';
import { mapName } from '../../runs/names.js';
import { jsonLines, type Skipped } from '../../runs/run.js';
import { writeTable, type Row, type Schema } from '../../runs/tables.js';
import type { ShardContext, ShardCounts } from '../../pipeline/stage.js';
import type { Sequence } from '../../runs/parallel.js';
import { bestPlaces, boxOf, medianMap, sequenceFeatures, valuesAt, type Place } from './places.js';
import type { CotypicalityRun } from './run.js';
import { PLACE_SCHEMA, SCORE_SCHEMA, type PlaceList, type PlaceRow, type ScoreRow } from './schema.js';
import { FAN_OUT, imageOf } from './resolve.js';

const SEQUENCE_SCHEMA: Schema = [
  ['sequence', 'STRING'],
  ['image', 'STRING'],
  ['label', 'STRING'],
  ['source_width', 'INT32'],
  ['source_height', 'INT32'],
  ['width', 'INT32'],
  ['height', 'INT32'],
];

/** What shards are scored with. */
export interface SequenceScoring {
  run: CotypicalityRun;
  engine: Engine;
  /** rows: the labels in order, then the null condition */
  conditions: Conditions;
  labels: readonly string[];
  sizes: SizeOptions;
  /** by key */
  sequences: ReadonlyMap<string, Sequence>;
}

type SequenceContext = SequenceScoring & ShardContext;

/** What scoring one sequence gave. */
interface Scored {
  row: Row;
  places: PlaceRow[];
  scores: ScoreRow[];
  /** [C] F32 [places, F] */
  features: Tensor[];
  maps: [name: string, map: Tensor][];
}

/** UNet calls of one sequence's scores. */
export const unetCallsOf = (samples: number, labels: number): number => samples * labels * FAN_OUT;

/**
 * Scores a shard and writes it.
 *
 * @throws NUMERICS naming the sequence; OUT_OF_MEMORY if the batch does not fit; CANCELLED
 */
export async function scoreSequences(
  scoring: SequenceScoring,
  shard: number,
  shardContext: ShardContext,
): Promise<ShardCounts> {
  const context: SequenceContext = { ...scoring, ...shardContext };
  const { run, meter, labels, signal, batch, notes } = context;
  const reasons = new Map<string, Skipped>();
  const scored: Scored[] = [];
  const entries = (await run.shardRows(shard)).map(({ key }) => {
    const found = context.sequences.get(key);
    if (!found)
      throw new DiffmineError('INTERNAL', `The sequence ${key} of the manifest is not in the parallel dataset.`);
    return found;
  });
  const ahead = prefetch(
    entries,
    async (sequence) => readSequence(sequence, context),
    (images) => images.reduce((sum, { pixels }) => sum + pixels.byteLength, 0),
    { signal },
  );
  try {
    for await (const next of ahead) {
      const { key, label } = next.item;
      if (next.error) {
        reasons.set(key, { image: key, label, reason: reasonAlone(next.error) });
        meter.drop(unetCallsOf(run.manifest.options.samples, labels.length));
        meter.image(key, reasonAlone(next.error));
        continue;
      }
      scored.push(await scoreSequence(context, next.item, next.value));
      meter.image(key);
    }
  } finally {
    await ahead.return(undefined);
  }
  const skipped = entries.flatMap(({ key }) => reasons.get(key) ?? []);
  await run.writeShard(shard, async (folder) => {
    await writeTable(
      join(folder, 'sequences.parquet'),
      scored.map(({ row }) => row),
      SEQUENCE_SCHEMA,
    );
    await writeTable(
      join(folder, 'places.parquet'),
      scored.flatMap(({ places }) => places),
      PLACE_SCHEMA,
    );
    await writeTable(
      join(folder, 'scores.parquet'),
      scored.flatMap(({ scores }) => scores),
      SCORE_SCHEMA,
    );
    writeSafetensors(
      join(folder, 'features.safetensors'),
      Object.fromEntries(
        labels.map((label, c) => {
          const own = scored.map(({ features }) => features[c] as Tensor);
          return [`features.${label}`, own.length > 0 ? concatenate(own) : fromFloat32([0, 0], [])];
        }),
      ),
    );
    if (run.manifest.options.maps)
      writeSafetensors(join(folder, 'maps.safetensors'), Object.fromEntries(scored.flatMap(({ maps }) => maps)));
    await writeFile(join(folder, 'skipped.jsonl'), jsonLines(skipped));
    await writeFile(
      join(folder, 'shard.json'),
      `${JSON.stringify({ id: shard, sequences: scored.length, skipped: skipped.length, batch, notes })}\n`,
    );
  });
  return { done: scored.length, skipped: skipped.length };
}

/**
 * The images of a sequence, a label each, all of the same size.
 *
 * @throws IMAGE_UNREADABLE with the reason, where one is missing, cannot be read, or is of another size
 */
async function readSequence(
  sequence: Sequence,
  { labels, sizes }: Pick<SequenceScoring, 'labels' | 'sizes'>,
): Promise<ReadImage[]> {
  const unfit = (why: string): DiffmineError =>
    new DiffmineError('IMAGE_UNREADABLE', `The sequence ${sequence.key} ${why}.`, undefined, { reason: `${why}.` });
  /** an image's error, as one of its sequence */
  const of = async <T>(file: string, read: Promise<T>): Promise<T> =>
    read.catch((error: unknown) => {
      if (!(error instanceof DiffmineError && error.code === 'IMAGE_UNREADABLE')) throw error;
      throw unfit(`has ${basename(file)}, which ${reasonAlone(error).replace(/\.$/, '')}`);
    });
  const files = labels.map((label) => {
    const file = imageOf(sequence, label);
    if (file === undefined) throw unfit(`has no image under ${JSON.stringify(label)}`);
    return file;
  });
  // headers first: what does not fit is not decoded
  const measured = await Promise.all(files.map(async (file) => of(file, measureImage(file))));
  const fitting = measured.map((size) => scoredSize(size, sizes));
  const text = ({ width, height }: Size): string => `${width} x ${height} px`;
  const odd = fitting.findIndex(({ width, height }) => width !== fitting[0]?.width || height !== fitting[0].height);
  if (odd > 0)
    throw unfit(
      `has images of different sizes: ${text(measured[0] as Size)} under ${JSON.stringify(labels[0])}, ${text(measured[odd] as Size)} under ${JSON.stringify(labels[odd])}`,
    );
  return Promise.all(files.map(async (file) => of(file, readImage(file, sizes))));
}

async function scoreSequence(context: SequenceContext, sequence: Sequence, images: ReadImage[]): Promise<Scored> {
  const { run, engine, conditions, labels, meter, signal, batch } = context;
  const {
    samples,
    seed,
    tBegin,
    tEnd,
    sampler,
    patch,
    places: count,
    maps,
    diftT,
    upBlock,
    ensemble,
  } = run.manifest.options;
  const { width, height } = images[0] as ReadImage;
  const call = { signal };
  let told = 0;
  try {
    const latents = await engine.encodeImages(
      images.map(({ pixels }) => ({ pixels, width, height })),
      call,
    );
    const { outputs } = await engine.scoreTypicality(
      conditions,
      {
        latents,
        height,
        width,
        conditions: labels.map((_, label) => [label, labels.length]),
        subjects: labels.map(() => [0]),
        weights: labels.map(() => [[0, 1]]),
        keys: labels.map(() => randomKey(sequence.key)), // the random places of all its images are the same
      },
      { samples, seed, tBegin, tEnd, sampler, patch, perImage: count, batch, keepMaps: maps, keepScores: true },
      {
        ...call,
        onProgress: ({ type, done }) => {
          if (type !== 'score') return;
          meter.add(done - told);
          told = done;
        },
      },
    );
    meter.add(unetCallsOf(samples, labels.length) - told);
    told = unetCallsOf(samples, labels.length);
    const byLabel = outputs.map((output) => output[0] as TypicalityOutput);
    const median = medianMap(byLabel.map(({ scores }) => scores as Tensor));
    const top = await bestPlaces(engine, median, patch, count, call);
    const drawn = (byLabel[0] as TypicalityOutput).random;
    const random = valuesAt(median, drawn).map((score, i): Place => ({
      row: drawn[i]?.row ?? 0,
      column: drawn[i]?.column ?? 0,
      score,
    }));
    const { patches } = await sequenceFeatures(
      engine,
      conditions,
      {
        latents,
        height,
        width,
        rows: labels.map((_, label) => label),
        boxes: [...top, ...random].map((place) => boxOf(place, patch)),
      },
      { timestep: diftT, upBlock, ensemble, seed, batch },
      call,
    );
    return {
      ...rowsOf(context, sequence, images, byLabel, { top, random }),
      features: patches,
      maps: maps ? byLabel.map(({ map }, c) => [mapName(labels[c] ?? '', sequence.key), toFloat16(map as Tensor)]) : [],
    };
  } catch (error) {
    meter.add(-told);
    if (!(error instanceof DiffmineError && error.code === 'NUMERICS')) throw error;
    throw new DiffmineError(
      'NUMERICS',
      `Scoring the sequence ${sequence.key} gave NaN or infinite values.`,
      error.hint ?? 'Try `dtype` fp32. If that does not help, the model is damaged.',
      { cause: error },
    );
  }
}

/** The rows of one sequence. */
function rowsOf(
  { run, labels }: SequenceScoring,
  sequence: Sequence,
  images: ReadImage[],
  byLabel: TypicalityOutput[],
  lists: Record<PlaceList, Place[]>,
): Pick<Scored, 'row' | 'places' | 'scores'> {
  const { samples, patch } = run.manifest.options;
  const { key, image, label } = sequence;
  // boxes are in pixels of the source image, also where its own label is not among those compared
  const own = images[Math.max(0, labels.indexOf(label))] as ReadImage;
  const across = own.sourceWidth / own.resized.width;
  const down = own.sourceHeight / own.resized.height;
  const found: Pick<Scored, 'row' | 'places' | 'scores'> = {
    row: {
      sequence: key,
      image,
      label,
      source_width: own.sourceWidth,
      source_height: own.sourceHeight,
      width: own.width,
      height: own.height,
    },
    places: [],
    scores: [],
  };
  for (const list of ['top', 'random'] as const) {
    const places = lists[list];
    places.forEach(({ row, column, score }, i) => {
      const box = { x: column * across, y: row * down, width: patch * across, height: patch * down };
      found.places.push({
        sequence: key,
        image,
        label,
        list,
        place: i + 1,
        ...box,
        row,
        column,
        patch,
        cotypicality: score,
        samples,
      });
    });
    byLabel.forEach(({ scores, standardErrors }, c) => {
      const typicality = valuesAt(scores as Tensor, places);
      const errors = standardErrors && samples > 1 ? valuesAt(standardErrors, places) : [];
      places.forEach((_, i) =>
        found.scores.push({
          sequence: key,
          list,
          place: i + 1,
          condition: labels[c] as string,
          typicality: typicality[i] ?? NaN,
          standard_error: errors[i] ?? null,
        }),
      );
    });
  }
  return found;
}
