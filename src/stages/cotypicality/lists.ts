// The lists of places that are grouped, from all shards of a run: the best, and as many random ones.
import type { Size } from '../../data/index.js';
import { float32, readSafetensors } from '../../engine/index.js';
import { readTable } from '../../runs/tables.js';
import { DiffmineError } from '../../util/errors.js';
import { evenly } from '../../util/evenly.js';
import { groupBy } from '../../util/group.js';
import type { PlaceFeatures } from './changes.js';
import type { CotypicalityRun } from './run.js';
import { PLACE_LISTS, type PlaceList, type PlaceRow, type ScoreRow } from './schema.js';

/** One list of places with their features. */
export interface Listed {
  rows: PlaceRow[];
  features: PlaceFeatures;
}

const keyOf = ({ sequence, list, place }: { sequence: string; list: string; place: number }): string =>
  JSON.stringify([list, sequence, place]);

/** The best places of all shards, as many random ones, the scores of both, and the sizes of the sequences' source images. */
export async function readLists(
  run: CotypicalityRun,
  most: number,
): Promise<{ top: Listed; random: Listed; scores: ScoreRow[]; sizes: Map<string, Size> }> {
  const { labels } = run.manifest.parallel;
  const shards = await run.doneShards();
  let top: { shard: number; at: number; row: PlaceRow }[] = [];
  let drawn: { shard: number; at: number }[] = [];
  for (const shard of shards) {
    const rows = await readTable<PlaceRow>(run.shardFile(shard, 'places.parquet'));
    const found = rows.map((row, at) => ({ shard, at, row }));
    // no more than `most` are kept of all; the sort is stable: of equals the first sequence's
    top = [...top, ...found.filter(({ row }) => row.list === 'top')]
      .sort((a, b) => b.row.cotypicality - a.row.cotypicality)
      .slice(0, most);
    for (const { at, row } of found) if (row.list === 'random') drawn.push({ shard, at });
  }
  // of all sequences, as the best ones are, not of the first label's
  drawn = evenly(drawn, Math.max(top.length, 1));
  const random: typeof top = [];
  for (const of of groupBy(drawn, ({ shard }) => String(shard))) {
    const rows = await readTable<PlaceRow>(run.shardFile(of[0]?.shard ?? 0, 'places.parquet'));
    for (const { shard, at } of of) random.push({ shard, at, row: rows[at] as PlaceRow });
  }
  const featuresOf = new Map<PlaceList, PlaceFeatures>();
  const chosen = { top, random };
  let width = 0;
  for (const shard of shards) {
    const file = run.shardFile(shard, 'features.safetensors');
    const stored = readSafetensors(file);
    for (const list of PLACE_LISTS) {
      const wanted = [...chosen[list].entries()].filter(([, { shard: from }]) => from === shard);
      if (wanted.length === 0) continue;
      labels.forEach((label, c) => {
        const tensor = stored[`features.${label}`];
        if (!tensor)
          throw new DiffmineError(
            'RUN_INVALID',
            `${file} has no features under ${JSON.stringify(label)}.`,
            'Remove its shard folder and run the same command again.',
          );
        width = tensor.shape[1] ?? 0;
        const own = featuresOf.get(list) ?? {
          count: chosen[list].length,
          width,
          labels: labels.map(() => new Float32Array(chosen[list].length * width)),
        };
        featuresOf.set(list, own);
        const values = float32(tensor);
        for (const [index, { at }] of wanted)
          own.labels[c]?.set(values.subarray(at * width, (at + 1) * width), index * width);
      });
    }
  }
  const kept = new Set([...top, ...random].map(({ row }) => keyOf(row)));
  const scores: ScoreRow[] = [];
  const sizes = new Map<string, Size>();
  for (const shard of shards) {
    for (const row of await readTable<{ sequence: string; source_width: number; source_height: number }>(
      run.shardFile(shard, 'sequences.parquet'),
    )) {
      sizes.set(row.sequence, { width: row.source_width, height: row.source_height });
    }
    for (const row of await readTable<ScoreRow>(run.shardFile(shard, 'scores.parquet')))
      if (kept.has(keyOf(row))) scores.push(row);
  }
  const listed = (list: PlaceList): Listed => ({
    rows: chosen[list].map(({ row }) => row),
    features: featuresOf.get(list) ?? { count: 0, width: 0, labels: labels.map(() => new Float32Array(0)) },
  });
  return { top: listed('top'), random: listed('random'), scores, sizes };
}
