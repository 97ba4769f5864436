// The places of a finished run: ranked, their features projected and clustered, what changes most between labels; into RUN/clusters, replaced as a whole.
import { count } from '../../web/html.js';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { readBoxes } from '../../data/boxes/index.js';
import { DiffmineError } from '../../util/errors.js';
import { cluster, clustersFor, type Clustering } from '../../pipeline/cluster.js';
import { fromFloat32, writeSafetensors, type Engine } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';
import { removeLeftovers, replaceFolder } from '../../runs/atomic.js';
import { sha256File } from '../../util/sha256.js';
import { canonicalJson, type Json } from '../../runs/fingerprint.js';
import { list, members, oneOf, text, whole } from '../../runs/json-shape.js';
import { writeTable } from '../../runs/tables.js';
import type { Sequence } from '../../runs/parallel.js';
import { changesOf } from './changes.js';
import { readLists } from './lists.js';
import type { CotypicalityEvent, GroupedCluster, GroupSettings, Projection, TruthRecord } from './options.js';
import { planProjection, project } from './project.js';
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
} from './schema.js';
import { compareWithBoxes } from './truth.js';
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
      { clusters: clustersFor(settings.clusters, rows.length), restarts: settings.restarts, seed },
      { signal: hooks.signal },
    );
    made.set(list, { ...clustering, points: fromFloat32([rows.length, points.width], points.values), plan });
  }
  const own = made.get('top');
  if (!own) throw new DiffmineError('INTERNAL', 'No places were clustered.');
  if (settings.clusters !== 'auto' && own.clusters.length < settings.clusters) {
    notes.push(
      `${count(own.clusters.length, 'cluster')}, not ${settings.clusters}: there ${top.rows.length === 1 ? 'is' : 'are'} ${count(top.rows.length, 'place')}${top.rows.length > own.clusters.length ? ', some of them identical' : ''}.`,
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
      ? compareWithBoxes(basename(boxesFile), boxes, { sizes, sequences }, { top, random }, made, seed)
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
