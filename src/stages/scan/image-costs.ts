// What the images of a scan cost, for the size of its shards.
import { shapeOf } from '../../pipeline/batch.js';
import type { Divided, Planned } from '../../pipeline/shard-size.js';
import { RUN, type Manifest, type RaceOptions } from '../../runs/manifest.js';
import type { ContrastPlan } from './contrasts.js';
import { promptsOf } from './prompts.js';
import type { Resolved } from './resolve.js';

/**
 * Images, and UNet calls of one; of a race, of its longest round: shards of a round are no larger, and an image's samples are spread over them.
 *
 * @param images all labels are among those of `contrasts`
 */
export function dividedOf(
  images: { length: number; countByLabel(): ReadonlyMap<string, number> },
  { contrasts, samples, race }: { contrasts: Pick<ContrastPlan, 'of'>; samples: number; race: RaceOptions | undefined },
): Divided {
  const ends = race?.ends ?? [samples];
  const longest = Math.max(...ends.map((end, i) => end - (ends[i - 1] ?? 0)));
  return { items: images.length, unetCallsPerItem: (longest * callsOf(images, contrasts)) / images.length };
}

/** UNet calls of one sample of all images. */
export function callsOf(
  images: { countByLabel(): ReadonlyMap<string, number> },
  contrasts: Pick<ContrastPlan, 'of'>,
): number {
  const counts = [...images.countByLabel()];
  return counts.reduce((sum, [label, count]) => sum + count * (contrasts.of(label)?.calls ?? 0), 0);
}

/** Parquet bytes of a candidate patch and of an image under a condition, measured on real runs with paths of some 20 characters. */
const PATCH_BYTES = 30;
const IMAGE_BYTES = 45;

/** Bytes of a scan's tables and maps. `outputs`: images times the conditions that each is scored under; `cells`: of a map, 0 without maps */
export function bytesOf(outputs: number, perImage: number, cells: number): Record<'tables' | 'maps' | 'total', number> {
  const tables = outputs * (3 * perImage * PATCH_BYTES + IMAGE_BYTES);
  const maps = outputs * cells * 2;
  return { tables, maps, total: tables + maps };
}

/** Bytes of a finished scan; all of its maps are as large as the largest. */
export async function diskOf(resolved: Resolved): Promise<ReturnType<typeof bytesOf>> {
  const { draft, images, contrasts, dataset, sizes, model } = resolved;
  const { perImage, maps } = draft.options;
  const { rows, columns } = await shapeOf(dataset.images, sizes, model);
  const outputs = [...images.countByLabel()].reduce(
    (sum, [label, count]) => sum + count * (contrasts.of(label)?.subjects.length ?? 0),
    0,
  );
  return bytesOf(outputs, perImage, maps ? rows * columns * model.fold ** 2 : 0);
}

export function plannedOf(resolved: Resolved): Planned<Manifest> {
  const { draft, model, devices, begun, dataset, images, sizes, contrasts } = resolved;
  const { samples, race } = draft.options;
  return {
    format: RUN.format,
    draft,
    model,
    devices,
    begun,
    divided: dividedOf(images, { contrasts, samples, race }),
    shape: async () => shapeOf(dataset.images, sizes, model),
  };
}

/** Two of the conditions of a scan. */
export function somePrompts(resolved: Resolved): [string | null, string | null] {
  const [first = null, ...others] = promptsOf(resolved);
  return [first, others.at(-1) ?? first];
}
