// compare: how far two runs agree on what is typical: rank correlation, overlap of the top K, and the patches that moved most.
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { z } from 'zod';
import { mean } from '../../metrics/bootstrap.js';
import { resolved } from '../../options/check.js';
import { replaceFolder } from '../../runs/atomic.js';
import { readMine, type MineRecord } from '../../runs/mining.js';
import { Run } from '../../runs/run.js';
import type { MinedPatchRow } from '../../runs/columns.js';
import { withLocalRun } from '../../runs/store/copy.js';
import { VERSION } from '../../util/version.js';
import { DiffmineError } from '../../util/errors.js';
import { groupBy } from '../../util/group.js';
import type { Hooks } from '../../util/hooks.js';
import { differencesOf } from './differences.js';
import {
  COMPARE,
  COMPARE_FORMAT,
  type CompareEvent,
  type CompareOptions,
  type CompareSummary,
  type Correlation,
  type LabelComparison,
  type Mover,
} from './options.js';
import { writePage } from './page.js';
import { imageCorrelation, pairsOf, patchCorrelation, type Pair } from './pairs.js';
import { drawTiles } from './tiles.js';

const RECORD = 'compare.json';
/** Of a run in a bucket, these files are fetched. */
const READ = /^mine\/(mine\.json|patches\.parquet)$|(^|\/)(shard\.json|images\.parquet)$/;
const NONE: Correlation = { common: 0, spearman: null };

/**
 * Compares two mined runs, and writes a page (OUT/index.html) and what it shows (OUT/compare.json).
 *
 * @throws RUN_INVALID for a run that is not mined; RUN_MISMATCH for runs that have no image in common under a label; INVALID_ARGUMENT for an output
 *   folder that holds something else; CANCELLED
 */
export async function compare(options: CompareOptions, hooks: Hooks<CompareEvent> = {}): Promise<CompareSummary> {
  const { run: place, other: otherPlace, ...given } = options;
  const asked = resolved(COMPARE, given);
  await checkOut(asked.out);
  const work = { reads: (name: string) => READ.test(name), makes: [], lock: '' };
  return withLocalRun(place, hooks, work, async (path, local) =>
    withLocalRun(otherPlace, local, work, async (otherPath, both) => {
      const [run, other] = await Promise.all([openMined(path), openMined(otherPath)]);
      const places = [place, otherPlace].map((one) => (one.startsWith('s3://') ? one : resolve(one)));
      const summary = await compareRuns(run, other, places as [string, string], asked, both);
      return write(summary, [run[0], other[0]], asked, both);
    }),
  );
}

/** Only a comparison is replaced. */
async function checkOut(out: string): Promise<void> {
  const names = await readdir(out).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    if (code === 'ENOTDIR')
      throw new DiffmineError('INVALID_ARGUMENT', `${out} is a file.`, 'Name a folder with `out`.');
    throw error;
  });
  if (names.length > 0 && !existsSync(join(out, RECORD)))
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The folder ${out} is not empty, and not an earlier comparison.`,
      'Name another folder with `out`.',
    );
}

async function openMined(path: string): Promise<[Run, MineRecord]> {
  const run = await Run.open(path);
  const mined = await readMine(run);
  if (!mined)
    throw new DiffmineError(
      'RUN_INVALID',
      `${path} is not mined: it has no ranking.`,
      'Mine it first: diffmine mine RUN.',
    );
  return [run, mined];
}

async function compareRuns(
  [run, mined]: [Run, MineRecord],
  [other, otherMined]: [Run, MineRecord],
  [path, otherPath]: [string, string],
  { list, at, iou, movers }: z.output<typeof COMPARE>,
  { signal }: Hooks<CompareEvent>,
): Promise<CompareSummary> {
  const labels = run.manifest.conditions.filter((label) => other.manifest.conditions.includes(label));
  const images = await imageCorrelation(run, other);
  if (![...images.values()].some(({ common }) => common > 0))
    throw new DiffmineError(
      'RUN_MISMATCH',
      `${path} and ${otherPath} have scored no image under the same label.`,
      labels.length === 0
        ? `Labels of the first: ${shown(run.manifest.conditions)}; of the second: ${shown(other.manifest.conditions)}.`
        : 'Images are compared by their path in the dataset.',
    );
  const patches = await patchCorrelation(run, other, list, iou);
  const random = list === 'random' ? patches : await patchCorrelation(run, other, 'random', iou);
  const pairs = new Map(
    groupBy(await pairsOf(run, other, list, iou), ({ condition }) => condition).map((own) => [
      (own[0] as Pair).condition,
      own,
    ]),
  );
  const sizes = [...new Set(at)].sort((a, b) => a - b);
  const compared: LabelComparison[] = [];
  for (const label of labels) {
    if (signal?.aborted) throw new DiffmineError('CANCELLED', 'The comparison was cancelled.');
    const [ours, theirs] = await Promise.all([run, other].map(async (one) => rankingOf(one, label, list)));
    const own = pairs.get(label) ?? [];
    const both = (k: number): number => own.filter((pair) => pair.run <= k && pair.other <= k).length;
    const isLong = (k: number): boolean => Math.min(ours?.length ?? 0, theirs?.length ?? 0) >= k;
    compared.push({
      label,
      images: images.get(label) ?? NONE,
      patches: patches.get(label) ?? NONE,
      random: random.get(label) ?? NONE,
      ranked: { run: ours?.length ?? 0, other: theirs?.length ?? 0 },
      overlap: sizes.map((k) => ({ k, fraction: isLong(k) ? both(k) / k : null })),
      movers: moversOf(ours ?? [], theirs ?? [], own, movers),
    });
  }
  const over = (of: (one: LabelComparison) => number | null | undefined): number | null =>
    mean(compared.map((one) => of(one) ?? null));
  return {
    format: COMPARE_FORMAT,
    version: VERSION,
    path: '',
    page: '',
    run: { path, fingerprint: run.manifest.fingerprint },
    other: { path: otherPath, fingerprint: other.manifest.fingerprint },
    options: { list, at: sizes, iou },
    differences: differencesOf([run, mined], [other, otherMined]),
    mean: {
      images: over((one) => one.images.spearman),
      patches: over((one) => one.patches.spearman),
      random: over((one) => one.random.spearman),
      overlap: sizes.map((k, i) => ({ k, fraction: over((one) => one.overlap[i]?.fraction) })),
    },
    labels: compared,
    only: {
      run: run.manifest.conditions.filter((label) => !labels.includes(label)),
      other: other.manifest.conditions.filter((label) => !labels.includes(label)),
    },
    missing: [],
  };
}

const shown = (labels: readonly string[]): string =>
  `${labels.slice(0, 10).join(', ')}${labels.length > 10 ? ', …' : ''}`;

async function rankingOf(run: Run, label: string, list: z.output<typeof COMPARE>['list']): Promise<MinedPatchRow[]> {
  const rows: MinedPatchRow[] = [];
  for await (const row of run.patches({ label, list })) rows.push(row);
  return rows;
}

/**
 * The patches of each ranking that are furthest down in the other: by the ratio of their ranks, so that from 3 to 300 counts more than from 600 to 900.
 * A patch that the other ranking does not have counts as the one after its last.
 */
function moversOf(
  ours: readonly MinedPatchRow[],
  theirs: readonly MinedPatchRow[],
  pairs: readonly Pair[],
  wanted: number,
): LabelComparison['movers'] {
  const side = (
    own: readonly MinedPatchRow[],
    rival: readonly MinedPatchRow[],
    from: 'run' | 'other',
    to: 'run' | 'other',
  ): Mover[] => {
    const there = new Map(pairs.map((pair) => [pair[from], pair[to]]));
    const byRank = new Map(rival.map((patch) => [patch.rank, patch]));
    return own
      .map((patch) => {
        const match = byRank.get(there.get(patch.rank) ?? -1);
        return { patch, match, ratio: (match?.rank ?? rival.length + 1) / patch.rank };
      })
      .filter(({ ratio }) => ratio > 1)
      .sort((a, b) => b.ratio - a.ratio || a.patch.rank - b.patch.rank)
      .slice(0, wanted)
      .map(({ patch: { image, x, y, width, height, rank, typicality }, match }) => {
        const places = {
          [from]: { rank, typicality },
          [to]: match ? { rank: match.rank, typicality: match.typicality } : null,
        } as Pick<Mover, 'run' | 'other'>;
        return { image, x, y, width, height, ...places, tile: null };
      });
  };
  return { run: side(ours, theirs, 'run', 'other'), other: side(theirs, ours, 'other', 'run') };
}

async function write(
  summary: CompareSummary,
  runs: [Run, Run],
  { out, dataset }: z.output<typeof COMPARE>,
  hooks: Hooks<CompareEvent>,
): Promise<CompareSummary> {
  const path = resolve(out);
  let done: CompareSummary = { ...summary, path, page: join(path, 'index.html') };
  await replaceFolder(path, async (folder) => {
    done = await drawTiles(done, runs, dataset, folder, hooks);
    await writeFile(join(folder, RECORD), `${JSON.stringify(done, null, 1)}\n`);
    await writePage(done, folder);
  });
  if (done.missing.length > 0)
    hooks.onLog?.(
      `Cannot show patches of ${done.missing[0]?.image}${done.missing.length > 1 ? ` and ${done.missing.length - 1} more images` : ''}: ${done.missing[0]?.reason} If the images have moved, name their folder with \`dataset\`.`,
    );
  return done;
}
