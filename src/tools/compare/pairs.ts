// What two runs have in common: images that both scored under a label, and patches at the same place in both rankings.
import type { Run } from '../../runs/run.js';
import type { MinedListName } from '../../runs/columns.js';
import { query, sqlFiles, sqlText } from '../../runs/tables.js';
import type { Correlation } from './options.js';

/** A patch that is in both rankings. */
export interface Pair {
  condition: string;
  run: number;
  other: number;
}

const KEY = 'image, label, condition';

/** Scores a and b of the images that both runs have, as SQL; undefined if one has none yet. */
async function imagePairs(run: Run, other: Run): Promise<string | undefined> {
  const [ours, theirs] = await Promise.all(
    [run, other].map(async (one) => (await one.doneShards()).map((shard) => one.shardFile(shard, 'images.parquet'))),
  );
  if (!ours?.length || !theirs?.length) return undefined;
  const [a, b] = [ours, theirs].map((files) => `SELECT ${KEY}, typicality FROM ${sqlFiles(files)}`);
  return `SELECT condition, a.typicality AS a, b.typicality AS b FROM (${a}) a JOIN (${b}) b USING (${KEY})`;
}

/**
 * Patches that both rankings have, as SQL: of each patch the box in the other ranking that overlaps it most, if that is so both ways and the
 * intersection over union is at least `iou`.
 */
function patchPairs(run: Run, other: Run, list: MinedListName, iou: number): string {
  const [a, b] = [run, other].map(
    (one) => `SELECT * FROM ${sqlFiles([one.mineFile('patches.parquet')])} WHERE list = ${sqlText(list)}`,
  );
  const along = (at: string, length: string): string =>
    `greatest(0, least(a.${at} + a.${length}, b.${at} + b.${length}) - greatest(a.${at}, b.${at}))`;
  const best = (side: string, rival: string): string =>
    `row_number() OVER (PARTITION BY condition, ${side} ORDER BY iou DESC, ${rival}) = 1`;
  return `
    SELECT condition, a, b, run, other FROM (
      SELECT *, common / (areas - common) AS iou FROM (
        SELECT condition, a.typicality AS a, b.typicality AS b, a.rank AS run, b.rank AS other,
               ${along('x', 'width')} * ${along('y', 'height')} AS common,
               a.width * a.height + b.width * b.height AS areas
        FROM (${a}) a JOIN (${b}) b USING (${KEY})
      ) WHERE common > 0
    ) WHERE iou >= ${iou} QUALIFY ${best('run', 'other')} AND ${best('other', 'run')}`;
}

/** Spearman's correlation of a and b, per condition: Pearson's of the ranks, where equal values have the mean of theirs; without the last digits' rounding. */
async function spearman(pairs: string): Promise<Map<string, Correlation>> {
  const rank = (of: string): string =>
    `rank() OVER (PARTITION BY condition ORDER BY ${of}) + (count(*) OVER (PARTITION BY condition, ${of}) - 1) / 2.0`;
  const rows = await query<{ condition: string; common: number; spearman: number | null }>(`
    SELECT condition, count(*)::INTEGER AS common,
           CASE WHEN count(*) >= 3 AND stddev_pop(a) > 0 AND stddev_pop(b) > 0 THEN round(corr(a, b), 12) END AS spearman
    FROM (SELECT condition, ${rank('a')} AS a, ${rank('b')} AS b FROM (${pairs})) GROUP BY condition`);
  return new Map(rows.map(({ condition, ...found }) => [condition, found]));
}

export async function imageCorrelation(run: Run, other: Run): Promise<Map<string, Correlation>> {
  const pairs = await imagePairs(run, other);
  return pairs === undefined ? new Map<string, Correlation>() : spearman(pairs);
}

export async function patchCorrelation(
  run: Run,
  other: Run,
  list: MinedListName,
  iou: number,
): Promise<Map<string, Correlation>> {
  return spearman(patchPairs(run, other, list, iou));
}

/** By their ranks in both runs. */
export async function pairsOf(run: Run, other: Run, list: MinedListName, iou: number): Promise<Pair[]> {
  return query<Pair>(
    `SELECT condition, run, other FROM (${patchPairs(run, other, list, iou)}) ORDER BY condition, run`,
  );
}
