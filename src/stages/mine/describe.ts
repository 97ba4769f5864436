// Descriptors of patches and of the windows of whole images, taken in as few forward passes as memory allows.
import type { DatasetImage } from '../../data/index.js';
import { float32 } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import { imageKey } from '../../runs/run.js';
import type { PatchRow } from '../../runs/schema.js';
import { groupBy } from '../../util/group.js';
import { Descriptors, Quarters } from './descriptors.js';
import { windowsOf } from './evidence.js';
import { keyOf, pooled, type FeatureContext } from './features.js';

/** Bytes of windows that are kept; those of further images are for another forward pass. */
const MOST_WINDOWS = 256 * 2 ** 20;

type Looked = { image: string; file: string; item: DatasetImage };
const lookedAt = (items: readonly DatasetImage[]): Looked[] =>
  items.map((item) => ({ image: item.path, file: item.file, item }));

/** Descriptors learned from the windows of these images. */
export async function learnDescriptors(
  images: readonly DatasetImage[],
  context: FeatureContext & { skipUnreadable: boolean },
): Promise<Descriptors> {
  const windows: { quarters: Quarters; features: Tensor }[] = [];
  const plans = new Map<DatasetImage, Quarters>();
  await pooled(
    lookedAt(images),
    ({ item }, size) => {
      const quarters = new Quarters(windowsOf(size, context.sizes.patch));
      plans.set(item, quarters);
      return quarters.boxes;
    },
    ({ item }, features) => windows.push({ quarters: plans.get(item) as Quarters, features }),
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
  const plans = new Map<string, { own: Quarters; all: Quarters | undefined }>();
  await pooled(
    items,
    ({ key, members }, size) => {
      const own = new Quarters(
        members.map(([, { row, column, patch }]) => ({
          rowBegin: row,
          columnBegin: column,
          rowEnd: row + patch,
          columnEnd: column + patch,
        })),
      );
      const keep = wanted.has(key) && kept < MOST_WINDOWS;
      const all = keep ? new Quarters(windowsOf(size, context.sizes.patch)) : undefined;
      plans.set(key, { own, all });
      return [...own.boxes, ...(all?.boxes ?? [])];
    },
    ({ item, key, members }, tensor) => {
      const { own, all } = plans.get(key) as { own: Quarters; all: Quarters | undefined };
      plans.delete(key);
      const values = float32(tensor);
      const described = descriptors.describe(own, values);
      members.forEach(([row], i) => out.patches.set(described.subarray(i * width, (i + 1) * width), row * width));
      if (!all) return;
      const windows = descriptors.describe(all, values.subarray(own.boxes.length * (tensor.shape[1] ?? 0)));
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
  const plans = new Map<DatasetImage, Quarters>();
  await pooled(
    lookedAt(images),
    ({ item }, size) => {
      const quarters = new Quarters(windowsOf(size, context.sizes.patch));
      plans.set(item, quarters);
      return quarters.boxes;
    },
    ({ item }, tensor) => {
      take(item, descriptors.describe(plans.get(item) as Quarters, float32(tensor)));
      plans.delete(item);
    },
    { ...context, skipUnreadable: true },
  );
}
