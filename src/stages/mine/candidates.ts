// The candidates of every label and list, from the patches of the scan: ranked, filtered, and moved if they are to be.
import { confoundsOf, type Confounds } from '../../data/confounds.js';
import type { ImageList, SizeOptions } from '../../data/index.js';
import type { Engine } from '../../engine/index.js';
import type { ModelFolder } from '../../models/index.js';
import type { MineRecord } from '../../runs/mining.js';
import { imageKey, type Run } from '../../runs/run.js';
import type { ListName, PatchRow } from '../../runs/columns.js';
import type { Hooks } from '../../util/hooks.js';
import { count } from '../../web/html.js';
import { CANDIDATES } from './diverse.js';
import { HeldOut } from './evidence.js';
import { effectiveCount, grouping, type GroupOf } from './groups.js';
import { filesOf, openRunDataset } from './open-inputs.js';
import type { MineEvent, MineOptions } from './options.js';
import { candidatesFromMaps } from './other-patch-size.js';
import { recenter } from './recenter.js';
import { MOST_RANKED, select } from './select.js';
import type { Mined } from './write.js';

/** Images of each label whose properties are measured. */
const MEASURED = 50;

export interface Ranked {
  notes: string[];
  confounds: Confounds | null;
  sizes: SizeOptions;
  /** all images of the run */
  images: ImageList;
  /** those that are ranked */
  files: ImageList;
  groupOf: GroupOf;
  heldOut: HeldOut;
  conditions: { condition: string; candidates: Record<ListName, PatchRow[]>; facts: Mined['facts'] }[];
}

/** The candidates of each list, filtered and moved; of the clustered list more than are wanted, where it is to be ranked again. */
export async function rankAll(
  run: Run,
  model: ModelFolder,
  engine: Engine,
  recorded: MineRecord['options'],
  options: Omit<MineOptions, 'run'>,
  hooks: Hooks<MineEvent>,
): Promise<Ranked> {
  const { size, sizeRule } = run.manifest.options;
  const { patch } = recorded;
  const sizes: SizeOptions = { size, rule: sizeRule, multiple: model.sizeMultiple, patch };
  const { top, rank } = recorded;
  const wanted: Record<ListName, number> = { top, bottom: top, random: top };
  if (recorded.diverse) wanted.top = Math.min(MOST_RANKED, CANDIDATES * top);
  const { images } = await openRunDataset(run, options);
  const groupOf = grouping(recorded.groupBy, run.manifest.dataset.columns, images);
  const fromMaps =
    patch === run.manifest.options.patch ? undefined : await candidatesFromMaps(run, engine, sizes, hooks);
  const selected = async (): ReturnType<typeof select> => {
    try {
      return await select(run, wanted, recorded, {
        images,
        sizes,
        groupOf,
        files: fromMaps?.files,
        signal: hooks.signal,
        onProgress: (done, total) => hooks.onProgress?.({ type: 'compare', done, total }),
      });
    } finally {
      await fromMaps?.remove();
    }
  };
  const { rankings, dropped } = await selected();
  const notes = fromMaps
    ? [
        `Patches of ${patch} px are ranked from the maps of the scan, whose patches have ${run.manifest.options.patch} px: they have no standard errors.`,
        ...(fromMaps.tooSmall > 0 ? [`${count(fromMaps.tooSmall, 'image')} smaller than a patch left out.`] : []),
      ]
    : [];
  const conditions: Ranked['conditions'] = [];
  for (const [condition, lists] of rankings) {
    const candidates = recorded.recenter
      ? { ...lists, top: await recenter(run, lists.top, 1), bottom: await recenter(run, lists.bottom, -1) }
      : lists;
    const chosen = candidates[rank].slice(0, top);
    conditions.push({
      condition,
      candidates,
      facts: {
        images: counted(chosen.map(({ image, label }) => imageKey({ path: image, label }))),
        groups: recorded.groupBy === null ? null : counted(chosen.map(({ image, label }) => groupOf(image, label))),
        dropped: dropped.get(condition)?.[rank] ?? { duplicates: 0, contrast: 0, groups: 0 },
      },
    });
    hooks.onProgress?.({ type: 'rank', condition, patches: chosen.length });
  }
  const featured = conditions.flatMap(({ candidates }) => candidates[rank]);
  return {
    notes,
    confounds: images.countByLabel().size > 1 ? await confoundsOf(images, MEASURED) : null,
    sizes,
    images,
    groupOf,
    files: await filesOf(run, images, featured, hooks),
    heldOut: HeldOut.choose(images, recorded.evidenceImages, run.manifest.options.seed, groupOf),
    conditions,
  };
}

/** How many of something there are, and as if they had equally many members. */
function counted(members: readonly string[]): { count: number; effective: number } {
  return { count: new Set(members).size, effective: effectiveCount(members) };
}
