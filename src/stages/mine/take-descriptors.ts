// Descriptors of patches and of the windows of whole images, taken in as few forward passes as memory allows.
import type { DatasetImage, Size } from '../../data/index.js';
import { float32, fromFloat32 } from '../../engine/index.js';
import type { PixelBox, Tensor } from '../../engine/types.js';
import { imageKey } from '../../runs/run.js';
import type { PatchRow } from '../../runs/columns.js';
import { groupBy } from '../../util/group.js';
import { Descriptors, Quarters } from './descriptors.js';
import { windowsOf } from './evidence.js';
import { keyOf, pooled, type FeatureContext } from './features.js';

/** Bytes of windows that are kept; those of further images are for another forward pass. */
const MOST_WINDOWS = 256 * 2 ** 20;

type Looked = { image: string; file: string; item: DatasetImage };
const lookedAt = (items: readonly DatasetImage[]): Looked[] =>
  items.map((item) => ({ image: item.path, file: item.file, item }));

/** Features of boxes of one image: F32 [quarters, F]. */
interface Quartered {
  quarters: Quarters;
  features: Tensor;
}

/**
 * As `pooled`, over the quarters of boxes.
 *
 * @param boxesOf groups of an image's boxes
 * @param take is given the features of each group
 */
async function quartered<Item extends { image: string; file: string }>(
  items: readonly Item[],
  boxesOf: (item: Item, size: Size) => PixelBox[][],
  take: (item: Item, groups: Quartered[]) => void,
  context: FeatureContext & { skipUnreadable?: boolean },
): Promise<void> {
  const plans = new Map<Item, Quarters[]>();
  await pooled(
    items,
    (item, size) => {
      const groups = boxesOf(item, size).map((boxes) => new Quarters(boxes));
      plans.set(item, groups);
      return groups.flatMap(({ boxes }) => boxes);
    },
    (item, tensor) => {
      const [values, width] = [float32(tensor), tensor.shape[1] ?? 0];
      let begin = 0;
      const groups = (plans.get(item) ?? []).map((quarters) => {
        const rows = quarters.boxes.length;
        const part = values.subarray(begin, begin + rows * width);
        begin += part.length;
        return { quarters, features: fromFloat32([rows, width], part) };
      });
      plans.delete(item);
      take(item, groups);
    },
    context,
  );
}

/** Descriptors learned from the windows of these images. */
export async function learnDescriptors(
  images: readonly DatasetImage[],
  context: FeatureContext & { skipUnreadable: boolean },
): Promise<Descriptors> {
  const windows: Quartered[] = [];
  await quartered(
    lookedAt(images),
    (_, size) => [windowsOf(size, context.sizes.patch)],
    (_, groups) => windows.push(...groups),
    { ...context, onImage: () => undefined },
  );
  return Descriptors.learn(windows);
}

export interface Described {
  /** F32 [patches, width] */
  patches: Float32Array;
  /** of sampled images, as many as memory should hold */
  windows: Map<DatasetImage, Float32Array>;
  left: DatasetImage[];
}

/** Descriptors of ranked patches, and in the same forward passes those of the windows of sampled images. */
export async function describe(
  patches: readonly PatchRow[],
  sampled: readonly DatasetImage[],
  descriptors: Descriptors,
  context: FeatureContext,
): Promise<Described> {
  const { width } = descriptors;
  const out: Described = { patches: new Float32Array(patches.length * width), windows: new Map(), left: [] };
  const wanted = new Set(sampled.map(imageKey));
  const rows = groupBy([...patches.entries()], ([, patch]) => keyOf(patch));
  const ranked = new Map(rows.map((members) => [keyOf((members[0] as [number, PatchRow])[1]), members]));
  const items = [...ranked].flatMap(([key, members]) => {
    const { image, label } = (members[0] as [number, PatchRow])[1];
    const item = context.files.find(image, label);
    return item ? [{ image, file: item.file, item, key, members }] : [];
  });
  let kept = 0;
  await quartered(
    items,
    ({ key, members }, size) => [
      members.map(([, { row, column, patch }]) => ({
        rowBegin: row,
        columnBegin: column,
        rowEnd: row + patch,
        columnEnd: column + patch,
      })),
      ...(wanted.has(key) && kept < MOST_WINDOWS ? [windowsOf(size, context.sizes.patch)] : []),
    ],
    ({ item, members }, [own, all]) => {
      const described = descriptors.describe(own as Quartered);
      members.forEach(([row], i) => out.patches.set(described.subarray(i * width, (i + 1) * width), row * width));
      if (!all) return;
      const windows = descriptors.describe(all);
      kept += 4 * windows.length;
      out.windows.set(item, windows);
    },
    context,
  );
  const ready = new Set([...out.windows.keys()].map(imageKey));
  out.left = sampled.filter((image) => !ready.has(imageKey(image)));
  return out;
}

/** Descriptors of the windows of further images. Those that cannot be read are left out: they were not scanned either. */
export async function describeWindows(
  images: readonly DatasetImage[],
  descriptors: Descriptors,
  context: FeatureContext,
  take: (image: DatasetImage, windows: Float32Array) => void,
): Promise<void> {
  await quartered(
    lookedAt(images),
    (_, size) => [windowsOf(size, context.sizes.patch)],
    ({ item }, groups) => groups.forEach((windows) => take(item, descriptors.describe(windows))),
    { ...context, skipUnreadable: true },
  );
}
