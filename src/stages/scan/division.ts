// What the images of a scan cost, for the size of its shards.
import { shapeOf } from '../../pipeline/batch.js';
import type { Divided, Planned } from '../../pipeline/shard-size.js';
import { RUN, type Manifest, type RaceOptions } from '../../runs/manifest.js';
import type { ContrastPlan } from './contrasts.js';
import { promptsOf } from './prompts.js';
import type { Resolved } from './resolve.js';

/**
 * Images, and UNet calls of one; of a race, of its longest round: shards of a round have the same size, and an image's samples are spread over them.
 *
 * @param images all labels are among those of `contrasts`
 */
export function dividedOf(
  images: { length: number; countByLabel(): ReadonlyMap<string, number> },
  { contrasts, samples, race }: { contrasts: Pick<ContrastPlan, 'of'>; samples: number; race: RaceOptions | undefined },
): Divided {
  const ends = race?.ends ?? [samples];
  const longest = Math.max(...ends.map((end, i) => end - (ends[i - 1] ?? 0)));
  const counts = [...images.countByLabel()];
  const calls = counts.reduce((sum, [label, count]) => sum + count * (contrasts.of(label)?.calls ?? 0), 0);
  return { items: images.length, unetCallsPerItem: (longest * calls) / images.length };
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
