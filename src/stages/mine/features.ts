// DIFT features of ranked patches: one forward pass per image, condition and noise, from which all patches of the image are pooled.
import { prefetch, readImage, type ImageList, type Size, type SizeOptions } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { float32, fromFloat32, type Conditions, type Engine } from '../../engine/index.js';
import type { DiftOptions, PixelBox, Tensor } from '../../engine/types.js';
import type { Features } from '../../pipeline/cluster.js';
import type { Replay } from '../../runs/replay.js';
import { imageKey } from '../../runs/run.js';
import type { PatchRow } from '../../runs/columns.js';
import { imagesPerCall } from '../../pipeline/batch.js';
import { groupBy } from '../../util/group.js';
import type { KnownFeatures } from './known-features.js';

/** Images that may wait for others of their shape. */
const MOST_WAITING = 64;

export interface FeatureContext {
  engine: Engine;
  conditions: Conditions;
  /** row of the prepared conditions */
  condition: number;
  files: ImageList;
  sizes: SizeOptions;
  dift: DiftOptions;
  replay: Replay | undefined;
  signal?: AbortSignal | undefined;
  /** an image's patches are done */
  onImage?: () => void;
}

/** The error for an image that the scan could read. */
export function unreadableNow(cause: DiffmineError): DiffmineError {
  return new DiffmineError(
    'IO',
    `An image of the scan can no longer be read: ${cause.message}`,
    'Restore it, or scan again into a new folder.',
    { cause },
  );
}

export interface PatchFeatures extends Features {
  /** patches whose features were known */
  reused: number;
  /** F32 [windows, F] of the images that `windowed` names, by imageKey */
  windows: Map<string, Tensor>;
}

/** Windows to take along in the forward passes of images that need one anyway. */
export interface Windowed {
  /** by imageKey */
  images: ReadonlySet<string>;
  windowsOf: (size: Size) => PixelBox[];
}

/** Bytes of windows that are kept; those of further images are for another pass. */
const MOST_WINDOWS = 256 * 2 ** 20;

export const keyOf = ({ image, label }: PatchRow): string => imageKey({ path: image, label });

/** The images that features must be computed of. */
export function unknownImages(patches: readonly PatchRow[], known: KnownFeatures): Set<string> {
  return new Set(patches.filter((patch) => !known.of(patch)).map(keyOf));
}

/** @throws IO if an image that was scanned can no longer be read */
export async function features(
  patches: readonly PatchRow[],
  known: KnownFeatures,
  windowed: Windowed,
  context: FeatureContext,
): Promise<PatchFeatures> {
  const vectors = patches.map((patch) => known.of(patch));
  const unknown = [...patches.entries()].filter(([index]) => !vectors[index]);
  const byImage = groupBy(unknown, ([, patch]) => keyOf(patch));
  const images = byImage.map((members) => {
    const { image, label } = (members[0] as [number, PatchRow])[1];
    const file = context.files.find(image, label)?.file;
    if (file === undefined)
      throw new DiffmineError(
        'DATASET_INVALID',
        `The image ${image} is no longer in the dataset.`,
        'Restore it, or scan again into a new folder.',
      );
    return { image, file, members, key: imageKey({ path: image, label }) };
  });
  const windows = new Map<string, Tensor>();
  let kept = 0;
  await pooled(
    images,
    ({ members, key }, size) => [
      ...members.map(([, { row, column, patch }]) => ({
        rowBegin: row,
        columnBegin: column,
        rowEnd: row + patch,
        columnEnd: column + patch,
      })),
      ...(windowed.images.has(key) && kept < MOST_WINDOWS ? windowed.windowsOf(size) : []),
    ],
    ({ members, key }, tensor) => {
      const [boxes = 0, width = 0] = tensor.shape;
      const values = float32(tensor);
      members.forEach(([index], i) => (vectors[index] = values.slice(i * width, (i + 1) * width)));
      if (boxes === members.length) return;
      windows.set(key, fromFloat32([boxes - members.length, width], values.slice(members.length * width)));
      kept += 4 * values.length;
    },
    context,
  );
  const width = vectors[0]?.length ?? 0;
  const values = new Float32Array(patches.length * width);
  vectors.forEach((vector, index) => vector && values.set(vector, index * width));
  known.add(patches, (index) => values.subarray(index * width, (index + 1) * width));
  return { values, width, reused: patches.length - unknown.length, windows };
}

/**
 * Takes the features of images and pools them over boxes.
 *
 * @param boxesOf an image's boxes, in pixels of its scored size
 * @param take is given the unit vectors F32 [boxes, F] of an image; images may come in another order
 * @throws IO if an image can no longer be read, unless those are skipped
 */
export async function pooled<Item extends { image: string; file: string }>(
  images: readonly Item[],
  boxesOf: (item: Item, size: Size) => PixelBox[],
  take: (item: Item, features: Tensor) => void,
  context: FeatureContext & { skipUnreadable?: boolean },
): Promise<void> {
  const { engine, conditions, condition, sizes, dift, replay, signal } = context;
  const decoded = prefetch(
    images,
    async ({ file }) => readImage(file, sizes),
    ({ pixels }) => pixels.byteLength,
    { signal },
  );
  const perCall = imagesPerCall(dift.batch, dift.ensemble, 1);
  type Ready = { item: Item; image: { pixels: Uint8Array; width: number; height: number } };
  const waiting = new Map<string, Ready[]>();
  let held = 0;
  const flush = async (group: Ready[]): Promise<void> => {
    const noises = replay && group[0] ? replay.features(group[0].item.image) : undefined;
    const result = await engine.dift(
      conditions,
      {
        images: group.map(({ image: { pixels, width, height } }) => ({ pixels, width, height })),
        conditions: group.map(() => condition),
        boxes: group.map(({ item, image }) => boxesOf(item, image)),
        ...(noises ? { noises } : {}),
      },
      dift,
      { signal },
    );
    group.forEach(({ item }, b) => {
      take(item, result.patches[b] as Tensor);
      context.onImage?.();
    });
  };
  try {
    // images come in rank order; those of the same shape are gathered until they fill a call
    for await (const next of decoded) {
      if (next.error) {
        if (context.skipUnreadable) continue;
        throw unreadableNow(next.error);
      }
      const { width, height } = next.value;
      const shape = `${width}x${height}`;
      const group = [...(waiting.get(shape) ?? []), { item: next.item, image: next.value }];
      waiting.set(shape, group);
      held += 1;
      // a replayed image has its own noises; many shapes must not pile up: the one that waits longest goes
      const ready =
        replay || group.length === perCall ? shape : held > MOST_WAITING ? [...waiting.keys()][0] : undefined;
      if (ready === undefined) continue;
      const leaving = waiting.get(ready) ?? [];
      waiting.delete(ready);
      held -= leaving.length;
      await flush(leaving);
    }
    for (const group of waiting.values()) await flush(group);
  } finally {
    await decoded.return(undefined);
  }
}
