// The map of patches: the clustered patches of all labels laid out by their features, and the nearest patches of each; packed into data/map.js.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { float32, readSafetensors } from '../../engine/index.js';
import type { MineRecord } from '../../runs/mining.js';
import type { Run } from '../../runs/run.js';
import type { MinedPatchRow } from '../../runs/columns.js';
import { DiffmineError } from '../../util/errors.js';
import { evenly } from '../../util/evenly.js';
import { scriptOf } from '../../web/script.js';
import type { DrawContext } from './label.js';
import type { LabelView } from './layout.js';

/** Nearest patches that are kept of each. */
const NEAR = 12;
const LARGEST = 65_535;
/** data/map.js of a report without a map */
export const NO_MAP = scriptOf('diffmine.map', null);

interface Point {
  label: number;
  tile: number;
  patch: MinedPatchRow;
}

/** An image that a point is from: number in the run's list, path, label, size, and whether it could be read. */
type MapImage = [number: number, path: string, label: string, width: number, height: number, has: 0 | 1];

/**
 * data/map.js, or null where there is nothing to lay out.
 *
 * @param most points at most; evenly from the rankings of the labels
 */
export async function mapScript(
  run: Run,
  mined: MineRecord,
  views: readonly LabelView[],
  { numberOf, sizes, signal }: Pick<DrawContext, 'numberOf' | 'sizes' | 'signal'>,
  most: number,
): Promise<string> {
  const file = run.mineFile('features.safetensors');
  const tensors = most > 0 && existsSync(file) ? readSafetensors(file) : {};
  const features: Float32Array[] = [];
  const all: Point[] = [];
  for (const [label, view] of views.entries()) {
    const tensor = tensors[`features.${view.label}`];
    if (!tensor) continue;
    const width = tensor.shape[1] ?? 0;
    const values = float32(tensor);
    view.patches.forEach((patch, tile) => {
      if (patch.list !== mined.options.rank || patch.cluster === null) return;
      all.push({ label, tile, patch });
      features.push(values.subarray((patch.rank - 1) * width, patch.rank * width));
    });
  }
  const chosen = evenly([...all.keys()], most);
  if (chosen.length < 2) return NO_MAP;
  const width = features[0]?.length ?? 0;
  const values = new Float32Array(chosen.length * width);
  chosen.forEach((place, i) => values.set(features[place] as Float32Array, i * width));
  const { layout, neighbors } = await lay(values, width, run.manifest.options.seed, signal);
  const points = chosen.map((place) => all[place] as Point);
  return scriptOf('diffmine.map', packed(points, layout, neighbors, { numberOf, sizes }));
}

async function lay(
  values: Float32Array,
  width: number,
  seed: number,
  signal?: AbortSignal,
): Promise<{ layout: Float32Array; neighbors: Uint32Array }> {
  const worker = new Worker(join(import.meta.dirname, 'map-worker.js'), {
    workerData: { values, width, near: NEAR, seed },
  });
  const abort = (): void => void worker.terminate();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', (cause) =>
        reject(
          new DiffmineError('INTERNAL', `Laying out the map failed: ${cause.message}.`, 'Try `mapPatches` 0.', {
            cause,
          }),
        ),
      );
      worker.once('exit', () =>
        reject(new DiffmineError('CANCELLED', 'The report was cancelled; an earlier report is kept.')),
      );
      if (signal?.aborted) abort();
    });
  } finally {
    signal?.removeEventListener('abort', abort);
    await worker.terminate();
  }
}

/** Columns in base64, little-endian: positions and scores in 65,536 steps between their ends. */
function packed(
  points: readonly Point[],
  layout: Float32Array,
  neighbors: Uint32Array,
  { numberOf, sizes }: Pick<DrawContext, 'numberOf' | 'sizes'>,
): object {
  const images: MapImage[] = [];
  const placeOf = new Map<string, number>();
  const imageOf = ({ patch: { image, label } }: Point): number => {
    const known = placeOf.get(image);
    if (known !== undefined) return known;
    const place =
      images.push([
        numberOf.get(image) ?? -1,
        image,
        label,
        ...(sizes.get(image) ?? [0, 0]),
        sizes.has(image) ? 1 : 0,
      ]) - 1;
    placeOf.set(image, place);
    return place;
  };
  const axis = (offset: number): Float64Array =>
    Float64Array.from({ length: points.length }, (_, i) => layout[2 * i + offset] as number);
  const scores = Float64Array.from(points, ({ patch }) => patch.typicality);
  const errors = Float64Array.from(points, ({ patch }) => patch.standard_error ?? NaN);
  return {
    count: points.length,
    near: NEAR,
    images,
    x: quantized(axis(0)),
    y: quantized(axis(1)),
    typicality: quantized(scores),
    error: quantized(errors),
    label: base64(Uint16Array.from(points, ({ label }) => label)),
    tile: base64(Uint16Array.from(points, ({ tile }) => Math.min(LARGEST, tile))),
    cluster: base64(Uint16Array.from(points, ({ patch }) => patch.cluster ?? LARGEST)),
    rank: base64(Uint32Array.from(points, ({ patch }) => patch.rank)),
    image: base64(Uint32Array.from(points, imageOf)),
    box: base64(Float32Array.from(points.flatMap(({ patch: { x, y, width, height } }) => [x, y, width, height]))),
    neighbors: base64(neighbors),
  };
}

const base64 = ({ buffer, byteOffset, byteLength }: Uint16Array | Uint32Array | Float32Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString('base64');

/** What is not a number is the last step, without a value. */
function quantized(values: Float64Array): { low: number; high: number; data: string } {
  const finite = values.filter(Number.isFinite);
  const [low, high] = finite.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [
    Infinity,
    -Infinity,
  ] as [number, number]);
  const steps = LARGEST - 1;
  const scale = high > low ? steps / (high - low) : 0;
  const data = Uint16Array.from(values, (value) =>
    Number.isFinite(value) ? Math.round((value - low) * scale) : LARGEST,
  );
  return { low: finite.length > 0 ? low : 0, high: finite.length > 0 ? high : 0, data: base64(data) };
}
