// Scorer: the numbers of a scan, image by image.
import { join } from 'node:path';
import { readSafetensors, toFloat16, toFloat32 } from '../../src/engine/index.js';
import { fromFloat32 } from '../../src/engine/tensor.js';
import { mapName } from '../../src/runs/names.js';
import { Run } from '../../src/runs/run.js';
import type { PatchRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import { scan } from '../../src/stages/scan/scan.js';
import { Scorer, type ImagePatch } from '../../src/stages/scan/scorer.js';
import { temporaryFolder } from '../helpers/folders.js';

const GOLDEN = join(__dirname, '..', 'data', 'golden');
const DATASET = join(GOLDEN, 'mini-dataset');
const folder = temporaryFolder();

const TEXT = { model: join(GOLDEN, 'tiny-sd15'), prompt: 'A car from the {label}s.', nullPrompt: 'A car.' };

test('gives the numbers of a scan with the same options', async () => {
  const options = {
    ...TEXT,
    size: 'source',
    patch: 16,
    samples: 4,
    batch: 8,
    seed: 3,
    device: 'cpu',
    dtype: 'fp32',
    threads: 1,
  } as const;
  const out = join(folder, 'run');
  await scan({ ...options, dataset: DATASET, against: 'null', out });
  const run = await Run.open(out);
  const patches: PatchRow[] = [];
  for (let shard = 0; shard < run.manifest.shards; shard++)
    patches.push(...(await readTable<PatchRow>(run.shardFile(shard, 'patches.parquet'))));
  const scorer = await Scorer.open(options);
  try {
    expect(scorer.device).toBe('cpu');
    let compared = 0;
    for await (const { image, condition, typicality } of run.images()) {
      const scored = await scorer.score(join(DATASET, image), { label: condition, name: image });
      expect(Math.abs(scored.typicality - typicality)).toBeLessThanOrEqual(5e-6);
      for (const [list, got] of Object.entries({ top: scored.patches, bottom: scored.bottom, random: scored.random })) {
        const rows = patches.filter((row) => row.image === image && row.list === list);
        expect(got).toHaveLength(rows.length);
        expect(rows.length).toBeGreaterThan(0);
        rows.forEach((row, i) => {
          const patch = got[i] as ImagePatch;
          expect([patch.x, patch.y, patch.width, patch.height]).toEqual([row.x, row.y, row.width, row.height]);
          expect(Math.abs(patch.typicality - row.typicality)).toBeLessThanOrEqual(5e-6);
          expect(patch.standardError).not.toBeNull();
        });
      }
      const { values, width, height } = scored.map;
      const file = run.shardFile(0, 'maps.safetensors');
      const name = mapName(condition, image);
      const kept = run.manifest.shards === 1 ? readSafetensors(file, [name])[name] : undefined;
      expect(kept?.shape).toEqual([height, width]);
      const half = toFloat32(toFloat16(fromFloat32([height, width], values)));
      toFloat32(kept as NonNullable<typeof kept>).forEach((value, i) =>
        expect(Math.abs(value - (half[i] as number))).toBeLessThanOrEqual(5e-6 + Math.abs(value) / 512),
      );
      compared += 1;
    }
    expect(compared).toBe(12);
  } finally {
    await scorer.close();
  }
});

test('refuses what it cannot score, and keeps working', async () => {
  const model = join(GOLDEN, 'tiny-fold');
  await expect(Scorer.open({ model, patch: 0, device: 'cpu' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  const scorer = await Scorer.open({ model, samples: 1, patch: 4, device: 'cpu', threads: 1 });
  try {
    const image = join(DATASET, 'none.png');
    const [label] = scorer.model.labels ?? [];
    await expect(scorer.score(image, { label: label as string })).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' });
    await expect(scorer.score(image, { label: 'unicorn' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("'unicorn'") as unknown,
    });
  } finally {
    await scorer.close();
  }
});
