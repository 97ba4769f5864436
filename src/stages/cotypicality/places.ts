// Co-typicality of a sequence: the median over labels of its images' score maps, and its best places (section 5.1 of the paper).
import { float32, fromFloat32, type Conditions, type Engine } from '../../engine/index.js';
import type { CallOptions, DiftOptions, PixelBox, Tensor } from '../../engine/types.js';

/** A place of a sequence: the same patch in each of its images, in pixels of the scored images. */
export interface Place {
  row: number;
  column: number;
  /** the median over labels of the patch's typicality */
  score: number;
}

/**
 * The median over labels, place by place; of an even number of labels the mean of the two middle ones.
 *
 * @param maps a score map per label, F32 [R, S] all of the same shape
 * @returns F32 [R, S]
 */
export function medianMap(maps: readonly Tensor[]): Tensor {
  const values = maps.map(float32);
  const [first] = values;
  if (!first || !maps[0]) return fromFloat32([0, 0], new Float32Array(0));
  const count = values.length;
  const half = count >> 1;
  const median = new Float32Array(first.length);
  const sorted = new Float32Array(count);
  for (let i = 0; i < first.length; i += 1) {
    for (let label = 0; label < count; label += 1) sorted[label] = (values[label] as Float32Array)[i] as number;
    sorted.sort();
    median[i] =
      count % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2;
  }
  return fromFloat32(maps[0].shape, median);
}

/** Selects the most co-typical places greedily, without overlap or touching: at most `count`, fewer if no more fit. */
export async function bestPlaces(
  engine: Engine,
  median: Tensor,
  patch: number,
  count: number,
  call?: CallOptions,
): Promise<Place[]> {
  return engine.selectPatches(median, patch, count, false, call);
}

/** The value of a map F32 [R, S] at places. */
export function valuesAt(map: Tensor, places: readonly { row: number; column: number }[]): number[] {
  const values = float32(map);
  const columns = map.shape[1] ?? 0;
  return places.map(({ row, column }) => values[row * columns + column] ?? NaN);
}

export const boxOf = ({ row, column }: { row: number; column: number }, patch: number): PixelBox => ({
  rowBegin: row,
  columnBegin: column,
  rowEnd: row + patch,
  columnEnd: column + patch,
});

/**
 * DIFT features of a sequence's places: each image under its own prompt, the same boxes in all, L2-normalized image by image.
 *
 * @param input images, or latents F32 [C, c, h, w] with the images' size; conditions: row of each image's prompt, [C]; noises as Engine.dift takes them
 * @returns [C] F32 [boxes, F], and F32 [C, F, fh, fw] if it is kept
 */
export async function sequenceFeatures(
  engine: Engine,
  conditions: Conditions,
  input: {
    latents: Tensor;
    height: number;
    width: number;
    rows: number[];
    boxes: PixelBox[];
    noises?: Tensor;
    keepFeatures?: boolean;
  },
  dift: DiftOptions,
  call?: CallOptions,
): Promise<{ patches: Tensor[]; features?: Tensor }> {
  const { rows, boxes, ...rest } = input;
  return engine.dift(conditions, { ...rest, conditions: rows, boxes: rows.map(() => boxes) }, dift, call);
}

/**
 * What is clustered: for each place the labels' features one after the other, so of norm sqrt(C).
 *
 * @param patches [C] F32 [boxes, F]
 * @returns F32 [boxes, C F]
 */
export function concatenated(patches: readonly Tensor[]): Tensor {
  const [boxes = 0, width = 0] = patches[0]?.shape ?? [];
  const joined = new Float32Array(boxes * patches.length * width);
  patches.forEach((patch, label) => {
    const values = float32(patch);
    for (let box = 0; box < boxes; box += 1)
      joined.set(values.subarray(box * width, (box + 1) * width), (box * patches.length + label) * width);
  });
  return fromFloat32([boxes, patches.length * width], joined);
}
