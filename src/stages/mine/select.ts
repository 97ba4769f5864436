// Which candidates the rankings keep: near-duplicate images count once, flat patches and more than so many of one group are left out. Where that leaves
// fewer than were asked for, the ranking is asked for more.
import {
  appearanceOf,
  areNearDuplicates,
  prefetch,
  readImage,
  type Appearance,
  type ImageList,
  type SizeOptions,
} from '../../data/index.js';
import type { Dropped, MineSettings } from '../../runs/mining.js';
import type { Run } from '../../runs/run.js';
import { LISTS, type ListName, type PatchRow } from '../../runs/columns.js';
import { DiffmineError } from '../../util/errors.js';
import { chunks, groupBy } from '../../util/group.js';
import { keyOf, unreadableNow } from './features.js';
import type { GroupOf } from './groups.js';
import { rank, type Rankings } from './rank.js';

/** DuckDB's limit of min(..., K). */
export const MOST_RANKED = 999_999;
/** Candidates asked for at first, for each patch wanted, where some may be left out; and by how much more each time. */
const SPARE = 1.25;
const MORE = 4;
/** Images measured at once. */
const TOGETHER = 8;

export type Filters = Pick<MineSettings, 'minContrast' | 'maxPerGroup' | 'keepDuplicates'>;

export interface SelectContext {
  images: ImageList;
  sizes: SizeOptions;
  groupOf: GroupOf;
  /** tables of candidates; default: those of the scan */
  files?: readonly string[] | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: (done: number, total: number) => void;
}

export interface Selected {
  rankings: Rankings;
  /** by condition and list */
  dropped: Map<string, Record<ListName, Dropped>>;
}

/** @param wanted patches of each list */
export async function select(
  run: Run,
  wanted: Record<ListName, number>,
  filters: Filters,
  context: SelectContext,
): Promise<Selected> {
  const most = Math.max(...Object.values(wanted));
  const filtering = !filters.keepDuplicates || filters.minContrast > 0 || filters.maxPerGroup !== null;
  const looks = new Looks(filters, context);
  let pool = Math.min(MOST_RANKED, filtering ? Math.ceil(SPARE * most) : most);
  for (;;) {
    const candidates = await rank(run, pool, undefined, context.files);
    await looks.measure([...candidates.values()].flatMap((lists) => LISTS.flatMap((list) => lists[list])));
    const selected: Selected = { rankings: new Map(), dropped: new Map() };
    let short = false;
    for (const [condition, lists] of candidates) {
      const kept = { top: [], bottom: [], random: [] } as Record<ListName, PatchRow[]>;
      const dropped = {} as Record<ListName, Dropped>;
      for (const list of LISTS) {
        [kept[list], dropped[list]] = keep(lists[list], wanted[list], filters, looks, context.groupOf);
        if (kept[list].length < wanted[list] && lists[list].length === pool) short = true;
      }
      selected.rankings.set(condition, kept);
      selected.dropped.set(condition, dropped);
    }
    if (!short || pool === MOST_RANKED) return selected;
    pool = Math.min(MOST_RANKED, MORE * pool);
  }
}

/** The first `wanted` patches of a list that pass the filters, and how many were passed by for each reason. */
function keep(
  patches: readonly PatchRow[],
  wanted: number,
  { minContrast, maxPerGroup, keepDuplicates }: Filters,
  looks: Looks,
  groupOf: GroupOf,
): [PatchRow[], Dropped] {
  const kept: PatchRow[] = [];
  const dropped: Dropped = { duplicates: 0, contrast: 0, groups: 0 };
  const images = new Map<string, boolean>();
  const seen: Appearance[] = [];
  const perGroup = new Map<string, number>();
  /** whether an image of this ranking, before this one, is nearly the same */
  const isDuplicate = (key: string): boolean => {
    const look = looks.appearance(key);
    const known = images.get(key);
    if (known !== undefined || !look) return known ?? false;
    const duplicate = seen.some((other) => areNearDuplicates(look, other));
    images.set(key, duplicate);
    if (!duplicate) seen.push(look);
    return duplicate;
  };
  for (const patch of patches) {
    if (kept.length === wanted) break;
    if (minContrast > 0 && looks.contrast(patch) < minContrast) {
      dropped.contrast += 1;
      continue;
    }
    if (!keepDuplicates && isDuplicate(keyOf(patch))) {
      dropped.duplicates += 1;
      continue;
    }
    const group = groupOf(patch.image, patch.label);
    const taken = perGroup.get(group) ?? 0;
    if (maxPerGroup !== null && taken >= maxPerGroup) {
      dropped.groups += 1;
      continue;
    }
    perGroup.set(group, taken + 1);
    kept.push(patch);
  }
  return [kept, dropped];
}

const placeOf = (patch: PatchRow): string => `${patch.row} ${patch.column} ${keyOf(patch)}`;

/** What the filters need to know of images and patches, measured once each. */
class Looks {
  /** undefined: cannot be read */
  private readonly appearances = new Map<string, Appearance | undefined>();
  private readonly contrasts = new Map<string, number>();

  constructor(
    private readonly filters: Filters,
    private readonly context: SelectContext,
  ) {}

  appearance(key: string): Appearance | undefined {
    return this.appearances.get(key);
  }

  contrast(patch: PatchRow): number {
    return this.contrasts.get(placeOf(patch)) ?? 0;
  }

  async measure(patches: readonly PatchRow[]): Promise<void> {
    const { images, signal, onProgress } = this.context;
    const fileOf = ({ image, label }: PatchRow): string | undefined => images.find(image, label)?.file;
    const check = (): void => {
      if (signal?.aborted) throw new DiffmineError('CANCELLED', 'Mining was cancelled.');
    };
    const unknown = groupBy(patches, keyOf).filter(([first]) => first && !this.appearances.has(keyOf(first)));
    if (!this.filters.keepDuplicates) {
      let done = 0;
      for (const part of chunks(unknown, TOGETHER)) {
        check();
        await Promise.all(
          part.map(async ([first]) => {
            if (!first) return;
            const file = fileOf(first);
            // one that cannot be read is nobody's duplicate; taking features of it says why
            this.appearances.set(keyOf(first), file ? await appearanceOf(file).catch(() => undefined) : undefined);
          }),
        );
        done += part.length;
        onProgress?.(done, unknown.length);
      }
    }
    if (this.filters.minContrast === 0) return;
    const pending = groupBy(
      patches.filter((patch) => !this.contrasts.has(placeOf(patch))),
      keyOf,
    ).flatMap((members) => {
      const file = members[0] && fileOf(members[0]);
      return file ? [{ file, members }] : [];
    });
    const decoded = prefetch(
      pending,
      async ({ file }) => readImage(file, this.context.sizes),
      ({ pixels }) => pixels.byteLength,
      { signal },
    );
    try {
      for await (const next of decoded) {
        if (next.error) throw unreadableNow(next.error);
        for (const patch of next.item.members) this.contrasts.set(placeOf(patch), contrastIn(next.value, patch));
      }
    } finally {
      await decoded.return(undefined);
    }
  }
}

/** RMS contrast: the standard deviation of luma (BT.601) over a patch, 0 to 1. */
function contrastIn(
  { pixels, width }: { pixels: Uint8Array; width: number },
  { row, column, patch }: PatchRow,
): number {
  let [sum, squares] = [0, 0];
  for (let y = row; y < row + patch; y++) {
    for (let x = column; x < column + patch; x++) {
      const at = 3 * (y * width + x);
      const luma =
        (0.299 * (pixels[at] as number) + 0.587 * (pixels[at + 1] as number) + 0.114 * (pixels[at + 2] as number)) /
        255;
      sum += luma;
      squares += luma * luma;
    }
  }
  const count = patch * patch;
  return Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2));
}
