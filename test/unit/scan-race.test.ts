// Scans that race, with a tiny model: survivors have the scores of a scan without racing; parts, cancelling and resuming change nothing.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors } from '../../src/engine/index.js';
import { readRace } from '../../src/runs/rounds.js';
import { Run } from '../../src/runs/run.js';
import type { ImageRow, PatchRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import type { ScanOptions } from '../../src/stages/scan/options.js';
import { scan } from '../../src/stages/scan/scan.js';
import { rank } from '../../src/stages/mine/rank.js';
import { resultBytes } from '../helpers/bytes.js';
import { isNightly } from '../helpers/nightly.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const SAMPLES = 16;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-race-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const options = (out: string, more: Partial<ScanOptions> = {}): ScanOptions => ({
  dataset: join(GOLDEN, 'mini-dataset'),
  model: join(GOLDEN, 'tiny-sd15'),
  out: join(folder, out),
  prompt: 'A car from the {label}s.',
  nullPrompt: 'A car.',
  against: 'null',
  size: 'source',
  patch: 16,
  samples: SAMPLES,
  batch: 8,
  device: 'cpu',
  dtype: 'fp32',
  shardSize: 2,
  threads: 1,
  race: true,
  top: 1,
  raceRisk: 0.3,
  ...more,
});
const open = async (out: string): Promise<Run> => Run.open(join(folder, out));
async function rows<T>(run: Run, name: 'images.parquet' | 'patches.parquet'): Promise<T[]> {
  const all: T[] = [];
  for (const shard of await run.doneShards()) all.push(...(await readTable<T>(run.shardFile(shard, name))));
  return all;
}
const bytesOf = (out: string): Record<string, string> =>
  resultBytes(join(folder, out), ['shards', 'skipped.jsonl', 'race.json']);

describe('a race', () => {
  let expected: Record<string, string>;
  beforeAll(async () => {
    const summary = await scan(options('raced'));
    expect(summary.race?.saved).toBeGreaterThan(0);
    expect(summary.unetCalls).toBe(summary.race?.spent);
    expected = bytesOf('raced');
    await scan(options('plain', { race: false, raceRisk: undefined }));
  });

  test('survivors have the rows and maps of a scan without racing; the others say how many samples they got', async () => {
    const [raced, plain] = [await open('raced'), await open('plain')];
    const [a, b] = [await rows<ImageRow>(raced, 'images.parquet'), await rows<ImageRow>(plain, 'images.parquet')];
    expect(a.map(({ image }) => image)).toEqual(b.map(({ image }) => image));
    const survivors = new Set(a.filter(({ samples }) => samples === SAMPLES).map(({ image }) => image));
    expect(survivors.size).toBeGreaterThanOrEqual(3);
    expect(survivors.size).toBeLessThan(a.length);
    expect(a.filter(({ image }) => survivors.has(image))).toEqual(b.filter(({ image }) => survivors.has(image)));
    const patches = (all: PatchRow[], list: string): PatchRow[] =>
      all.filter((row) => survivors.has(row.image) && row.list === list);
    const [p, q] = [await rows<PatchRow>(raced, 'patches.parquet'), await rows<PatchRow>(plain, 'patches.parquet')];
    for (const list of ['top', 'bottom']) expect(patches(p, list)).toEqual(patches(q, list));
    for (const { samples } of p.filter(({ list }) => list === 'random')) expect(samples).toBe(SAMPLES);
    for (const shard of await raced.doneShards()) {
      const [own, exact] = [raced, plain].map((run) => readSafetensors(run.shardFile(shard, 'maps.safetensors')));
      expect(Object.keys(own ?? {})).toEqual(Object.keys(exact ?? {}));
      for (const [name, map] of Object.entries(own ?? {}))
        if ([...survivors].some((image) => name.endsWith(image))) expect(map).toEqual(exact?.[name]);
    }
  });

  test('race.json adds up, and no round is left', async () => {
    const run = await open('raced');
    const race = await readRace(run);
    expect(existsSync(join(run.path, 'rounds'))).toBe(false);
    expect(race).toMatchObject({ top: 1, rule: 'risk', risk: 0.3, ends: [6, 8, 10, 12, 14, SAMPLES] });
    const images = await rows<ImageRow>(run, 'images.parquet');
    for (const { label, images: of, unetCalls } of race?.labels ?? []) {
      const own = images.filter((row) => row.label === label);
      expect(of.reduce((sum, one) => sum + one.images, 0)).toBe(own.length);
      expect(unetCalls.spent).toBe(2 * own.reduce((sum, { samples }) => sum + samples, 0));
      expect(unetCalls.spent + unetCalls.saved).toBe(2 * SAMPLES * own.length);
    }
    for (const { patches } of race?.missed ?? []) expect(patches).toBeLessThanOrEqual(0.3);
  });

  test('how images are divided into shards, of the run and of its rounds, changes nothing', async () => {
    // the run has shards of 9 and 3 images, its first round of 8 and 4, the last of what is left
    await scan(options('nine', { shardSize: 9 }));
    const [nine, two] = [await open('nine'), await open('raced')];
    expect(await readRace(nine)).toEqual(await readRace(two));
    for (const name of ['images.parquet', 'patches.parquet'] as const)
      expect(await rows(nine, name)).toEqual(await rows(two, name));
  });

  test('only patches with all samples are ranked, random ones of the controls, and no least typical ones', async () => {
    const run = await open('raced');
    for (const lists of (await rank(run, 10)).values()) {
      expect(lists.bottom).toEqual([]);
      expect(lists.top.length).toBeGreaterThan(0);
      for (const { samples } of [...lists.top, ...lists.random]) expect(samples).toBe(SAMPLES);
      expect(new Set(lists.random.map(({ image }) => image)).size).toBe(1);
    }
  });

  test('two parts wait for each other and give the same bytes', async () => {
    const log: string[] = [];
    const parts = [0, 1].map(async (index) =>
      scan(options('parts', { shard: { index, count: 2 } }), { onLog: (line) => void log.push(line) }),
    );
    const summaries = await Promise.all(parts);
    expect(summaries.some(({ complete }) => complete)).toBe(true);
    expect(bytesOf('parts')).toEqual(expected);
    expect(log.filter((line) => line.startsWith('Round 1 of 6 is finished')).length).toBeGreaterThanOrEqual(1);
  });

  test.each(isNightly ? [0, 1, 2, 3, 4, 5] : [1])(
    'cancelled in round %i, it resumes there',
    async (round) => {
      const abort = new AbortController();
      let finished = 0;
      const out = `cancel-${round}`;
      await expect(
        scan(options(out), {
          signal: abort.signal,
          onLog: (line) => {
            if (/^Round \d of/.test(line)) finished += 1;
          },
          onProgress: (event) => event.type === 'image' && finished === round && abort.abort(),
        }),
      ).rejects.toMatchObject({ code: 'CANCELLED' });
      expect(readdirSync(join(folder, out, 'rounds'))).toHaveLength(round + 1);
      const summary = await scan(options(out));
      expect(summary).toMatchObject({ complete: true, resumed: true });
      expect(bytesOf(out)).toEqual(expected);
    },
    120_000,
  );

  test('half keeps the better half in each round', async () => {
    await scan(options('half', { race: 'half', raceRisk: undefined }));
    const race = await readRace(await open('half'));
    expect(race?.rule).toBe('half');
    for (const { images } of race?.labels ?? [])
      expect(images.find(({ samples }) => samples === SAMPLES)?.images).toBeLessThanOrEqual(2);
  });
});

test('where nothing can be saved the scan is a plain one, and says so', async () => {
  const log: string[] = [];
  await scan(options('none', { top: 3, samples: 8 }), { onLog: (line) => void log.push(line) });
  expect(log.join('\n')).toMatch(/^Not racing, as nothing can be saved: `top` asks for 3 patches/m);
  const run = await open('none');
  expect(run.manifest.options.race).toBeUndefined();
  expect(existsSync(join(run.path, 'rounds'))).toBe(false);
  log.length = 0;
  await scan(options('few', { samples: 4 }), { onLog: (line) => void log.push(line) });
  expect(log.join('\n')).toMatch(/Not racing, as nothing can be saved: 4 samples per image are too few/);
});
