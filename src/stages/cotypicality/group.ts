// The places of a finished run: ranked, their features projected and clustered, what changes most between labels; into RUN/clusters, replaced as a whole.
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Size } from '../../data/index.js';
import { inSource, isOfImage, readBoxes, tableOf, type BoxFile, type TruthBox } from '../../data/boxes/index.js';
import { DiffmineError } from '../../util/errors.js';
import { evenly } from '../../util/evenly.js';
import { cluster, type Clustering } from '../../pipeline/cluster.js';
import { float32, fromFloat32, readSafetensors, writeSafetensors, type Engine } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { sha256File } from '../../util/sha256.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import { list, members, oneOf, text, whole } from '../../runs/shape.js';
import { readTable, writeTable } from '../../runs/tables.js';
import { groupBy } from '../../util/group.js';
import type { Sequence } from '../../runs/parallel.js';
import { changesOf, type PlaceFeatures } from './changes.js';
import type { CotypicalityEvent, GroupedCluster, GroupSettings, Projection, TruthRecord } from './options.js';
import { planProjection, project } from './project.js';
import { agreement, hitBox } from './purity.js';
import type { CotypicalityRun } from './run.js';
import {
  CHANGE_SCHEMA,
  GROUPED_PLACE_SCHEMA,
  GROUP_SCHEMA,
  PLACE_LISTS,
  SCORE_SCHEMA,
  type GroupedPlaceRow,
  type GroupRow,
  type PlaceList,
  type PlaceRow,
  type ScoreRow,
} from './schema.js';
import type { Hooks } from '../../util/hooks.js';

export const GROUP_FORMAT = 'diffmine-cotypicality-clusters-1';

/** clusters/clusters.json */
export interface GroupRecord {
  format: typeof GROUP_FORMAT;
  /** the run's */
  fingerprint: string;
  options: GroupSettings & { seed: number; /** sha256 of the boxes compared with */ boxes: string | null };
  places: number;
  projection: { asked: Projection; done: Projection; dimensions: number };
  clusters: GroupedCluster[];
  truth: TruthRecord | null;
  notes: string[];
}

const GROUP_SHAPE = members({
  format: oneOf(GROUP_FORMAT),
  fingerprint: text,
  options: members({}),
  places: whole(0),
  projection: members({}),
  clusters: list(members({})),
  notes: list(text),
});

/** One list of places with their features. */
interface Listed {
  rows: PlaceRow[];
  features: PlaceFeatures;
}

/** The grouping of a run; undefined if there is none. */
export async function readGroups(run: CotypicalityRun): Promise<GroupRecord | undefined> {
  try {
    const record: unknown = JSON.parse(await readFile(run.groupFile('clusters.json'), 'utf8'));
    return GROUP_SHAPE(record) && (record as GroupRecord).fingerprint === run.manifest.fingerprint
      ? (record as GroupRecord)
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Groups the places of a run whose shards are all finished. One that was grouped with these settings already is left as it is.
 *
 * @param sequences by key: how large their images were in the dataset, which boxes refer to
 * @param engine any: clustering needs no model
 * @throws RUN_INVALID for a damaged shard; DATASET_INVALID for boxes that cannot be read, or that lie in none of the sources; CANCELLED
 */
export async function groupPlaces(
  run: CotypicalityRun,
  sequences: ReadonlyMap<string, Sequence>,
  engine: () => Engine,
  settings: GroupSettings,
  boxesFile: string | undefined,
  hooks: Hooks<CotypicalityEvent>,
): Promise<GroupRecord> {
  const boxes = boxesFile === undefined ? undefined : await readBoxes(boxesFile);
  const { seed } = run.manifest.options;
  const options: GroupRecord['options'] = {
    ...settings,
    seed,
    boxes: boxesFile === undefined ? null : await sha256File(boxesFile),
  };
  const before = await readGroups(run);
  if (before && canonicalJson(before.options as unknown as Json) === canonicalJson(options as unknown as Json)) {
    hooks.onLog?.('Already grouped with these options.');
    return before;
  }
  await removeLeftovers(join(run.path, 'clusters'));
  const { top, random, scores, sizes } = await readLists(run, settings.maxPlaces);
  const notes: string[] = [];
  const lists = boxes ? PLACE_LISTS : (['top'] as const);
  const total = lists.length * top.features.labels.length;
  let done = 0;
  const made = new Map<PlaceList, Clustering & { points: Tensor; plan: ReturnType<typeof planProjection> }>();
  for (const list of lists) {
    const { rows, features } = list === 'top' ? top : random;
    const plan = planProjection(features.count, features.width, settings);
    if (list === 'top') notes.push(...plan.notes);
    const points = await project(features, plan, seed, {
      signal: hooks.signal,
      onLabel: () => hooks.onProgress?.({ type: 'project', done: ++done, total }),
    });
    const clustering = await cluster(
      engine(),
      points,
      rows.map(({ cotypicality }) => cotypicality),
      { clusters: settings.clusters, restarts: settings.restarts, seed },
      { signal: hooks.signal },
    );
    made.set(list, { ...clustering, points: fromFloat32([rows.length, points.width], points.values), plan });
  }
  const own = made.get('top');
  if (!own) throw new DiffmineError('INTERNAL', 'No places were clustered.');
  if (own.clusters.length < settings.clusters) {
    notes.push(
      `${own.clusters.length} clusters, not ${settings.clusters}: there are ${top.rows.length} places${top.rows.length > own.clusters.length ? ', some of them identical' : ''}.`,
    );
  }
  const changes = await changesOf(
    top.features,
    random.features,
    own.assignment,
    own.clusters.length,
    run.manifest.parallel.labels,
    hooks.signal,
  );
  const truth =
    boxes && boxesFile !== undefined
      ? compare(basename(boxesFile), boxes, { sizes, sequences }, { top, random }, made, seed)
      : null;

  const sequencesOf = (index: number): number =>
    new Set(top.rows.filter((_, place) => own.assignment[place] === index).map(({ sequence }) => sequence)).size;
  const clusters = own.clusters.map(({ size, medianTypicality, inertia }, index): GroupedCluster => {
    const most = changes.filter((row) => row.cluster === index).sort((a, b) => b.change - a.change)[0];
    return {
      size,
      sequences: sequencesOf(index),
      medianCotypicality: medianTypicality,
      inertia,
      mostChanged: most ? { labels: [most.label_a, most.label_b], change: most.change } : null,
    };
  });
  const record: GroupRecord = {
    format: GROUP_FORMAT,
    fingerprint: run.manifest.fingerprint,
    options,
    places: top.rows.length,
    projection: { asked: settings.projection, done: own.plan.projection, dimensions: own.plan.dimensions },
    clusters,
    truth,
    notes,
  };
  const places = PLACE_LISTS.flatMap((list) =>
    (list === 'top' ? top : random).rows.map((row, index): GroupedPlaceRow => ({
      ...row,
      rank: index + 1,
      cluster: made.get(list)?.assignment[index] ?? null,
      distance: made.get(list)?.distances[index] ?? null,
    })),
  );
  await replaceFolder(join(run.path, 'clusters'), async (folder) => {
    await writeTable(join(folder, 'places.parquet'), places, GROUPED_PLACE_SCHEMA);
    await writeTable(join(folder, 'scores.parquet'), scores, SCORE_SCHEMA);
    await writeTable(
      join(folder, 'clusters.parquet'),
      clusters.map((one, index): GroupRow => ({
        cluster: index,
        size: one.size,
        sequences: one.sequences,
        median_cotypicality: one.medianCotypicality,
        inertia: one.inertia,
      })),
      GROUP_SCHEMA,
    );
    await writeTable(join(folder, 'changes.parquet'), changes, CHANGE_SCHEMA);
    writeSafetensors(
      join(folder, 'features.safetensors'),
      own.clusters.length === 0
        ? {}
        : { points: own.points, centers: fromFloat32([own.clusters.length, own.points.shape[1] ?? 0], own.centers) },
    );
    await writeFile(join(folder, 'clusters.json'), `${JSON.stringify(record, null, 1)}\n`);
  });
  return record;
}

const keyOf = ({ sequence, list, place }: { sequence: string; list: string; place: number }): string =>
  JSON.stringify([list, sequence, place]);

/** The best places of all shards, as many random ones, the scores of both, and the sizes of the sequences' source images. */
async function readLists(
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

/** Clusters of both lists against boxes in the source images, which are named as in the dataset, or as the sequence. */
function compare(
  file: string,
  truth: BoxFile,
  { sizes, sequences }: { sizes: ReadonlyMap<string, Size>; sequences: ReadonlyMap<string, Sequence> },
  lists: Record<PlaceList, Listed>,
  made: ReadonlyMap<PlaceList, Clustering>,
  seed: number,
): TruthRecord {
  const bare = (name: string): string => name.replace(/\.[^./]+$/, '');
  const { boxes } = truth;
  const table = tableOf({ ...truth, boxes: boxes.map((box) => ({ ...box, image: bare(box.image) })) }, (box) => box);
  const rows = [...lists.top.rows, ...lists.random.rows];
  const byImage = table.assign(new Set(rows.map((row) => bare(row.image))), file);
  const bySequence = table.assign(
    new Set(rows.filter((row) => !byImage.has(bare(row.image))).map((row) => row.sequence)),
    file,
  );
  const boxesOf = (row: PlaceRow): TruthBox[] => {
    const own = (byImage.get(bare(row.image)) ?? bySequence.get(row.sequence) ?? []).filter((box) =>
      isOfImage(box, row.label),
    );
    const [size, origin] = [sizes.get(row.sequence), sequences.get(row.sequence)?.origin];
    if (!size) return own;
    const [across, down] = origin
      ? [origin.resized.width / origin.width, origin.resized.height / origin.height]
      : [1, 1];
    const placed = own
      .map((box) => inSource(box, origin ?? size))
      .map((box) => ({
        ...box,
        x: box.x * across,
        y: box.y * down,
        width: box.width * across,
        height: box.height * down,
      }));
    const outside = origin ? undefined : placed.find((box) => box.x >= size.width + 1 || box.y >= size.height + 1);
    if (!outside) return placed;
    throw new DiffmineError(
      'DATASET_INVALID',
      `${file}: a box of ${outside.image} begins at ${outside.x}, ${outside.y}, outside its source image of ${size.width} x ${size.height} px.`,
      "Without a manifest of translate, boxes are in pixels of the sequence's source.png.",
    );
  };
  if (lists.top.rows.every((row) => boxesOf(row).length === 0)) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${file} has no box in a source image of this run.`,
      'Boxes must name images by their path in the translated dataset, or by LABEL/NAME.',
    );
  }
  const columns: TruthRecord['columns'] = {};
  for (const column of ['slot', 'kind', 'typicalOf'] as const) {
    if (!boxes.some((box) => box[column] !== undefined)) continue;
    if (column === 'typicalOf' && Object.keys(columns).length > 0) continue;
    const of = (list: PlaceList): TruthRecord['columns'][string]['top'] =>
      agreement(
        made.get(list)?.assignment ?? [],
        lists[list].rows.map((row) => {
          const near = boxesOf(row);
          const hit = hitBox(row, near);
          return hit === undefined ? undefined : near[hit]?.[column];
        }),
        seed,
      );
    columns[column] = { top: of('top'), random: of('random') };
  }
  if (Object.keys(columns).length === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `${file} does not say what its boxes show.`,
      'It needs a column slot or kind.',
    );
  }
  return { boxes: file, columns };
}
