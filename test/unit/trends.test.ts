// Trends: elements of all labels together and their curves. What is planted is found with the features of the demo's model; and mine --trends writes its tables.
import { cpSync, existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageList, openDataset } from '../../src/data/index.js';
import { orderedLabels } from '../../src/data/label-order.js';
import { Engine } from '../../src/engine/index.js';
import { openModel, prepareConditions } from '../../src/models/index.js';
import { readMine } from '../../src/runs/mining.js';
import { Run } from '../../src/runs/run.js';
import type { ElementRow, PatchRow, TrendPatchRow, TrendRow } from '../../src/runs/columns.js';
import { readTable } from '../../src/runs/tables.js';
import { mine } from '../../src/stages/mine/mine.js';
import { trends } from '../../src/stages/mine/trends.js';
import { scan } from '../../src/stages/scan/scan.js';
import { writeWorld } from '../../src/tools/world/world.js';
import { temporaryFolder } from '../helpers/folders.js';

const ROOT = join(__dirname, '..', '..');
const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const folder = temporaryFolder();

test('an element that is planted in one label is found there, its curve with it', async () => {
  // of the six cities, three stand for decades: what is planted in one is rare in the others
  const { heldout } = await writeWorld({ out: join(folder, 'world'), images: 16, seed: 9, heldout: 1 });
  const data = await openDataset(heldout.path);
  const order = { belmora: '1900s', esperil: '1910s', vinterhal: '1920s' } as const;
  const all = [...data.images].flatMap(({ label, ...image }) =>
    label in order ? [{ ...image, label: order[label as keyof typeof order] }] : [],
  );
  const images = ImageList.from(all);
  const roofs = ['ribbed dome', 'water tank', 'onion dome'];
  const patches = (await openBoxes()).flatMap(({ image, city, x, y, w, h, kind }): PatchRow[] => {
    const label = order[image.split('/')[0] as keyof typeof order] as string | undefined;
    if (label === undefined || !roofs.includes(kind) || !image.startsWith(city)) return [];
    const [row, column] = [y + h / 2 - 6, x + w / 2 - 6].map((at) => Math.max(0, Math.min(52, Math.round(at)))) as [
      number,
      number,
    ];
    return [
      {
        image,
        label,
        condition: label,
        list: 'top',
        place: 1,
        x: column,
        y: row,
        width: 12,
        height: 12,
        row,
        column,
        patch: 12,
        typicality: 1,
        standard_error: null,
        samples: 1,
      },
    ];
  });
  expect(patches.length).toBeGreaterThan(20);
  const model = await openModel(join(ROOT, 'demo', 'model'), {});
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  try {
    await engine.loadModel(model.source);
    const conditions = await prepareConditions(engine, model, [null]);
    const sizes = { size: 64, rule: 'floor', multiple: model.sizeMultiple, patch: 12 } as const;
    const dift = { timestep: 161, upBlock: 1, ensemble: 1, seed: 0, batch: 8 };
    const found = await trends(
      patches,
      { elements: 6, restarts: 10, trendImages: 16, seed: 0 },
      {
        engine,
        conditions,
        condition: 0,
        files: images,
        images,
        labels: orderedLabels(Object.values(order)) ?? [],
        groupOf: (image) => image,
        sizes,
        dift,
        replay: undefined,
      },
      {},
    );
    expect(found.elements).toHaveLength(6);
    expect(found.curves).toHaveLength(18);
    // the clearest element of each label is much more common there than in the others on average
    for (const label of Object.values(order)) {
      const { element } = found.elements.find(({ peak }) => peak === label) as ElementRow;
      const curve = found.curves.filter((row) => row.element === element);
      const own = curve.find((row) => row.label === label)?.fraction ?? 0;
      const others = curve.reduce((sum, row) => sum + (row.label === label ? 0 : row.fraction), 0) / 2;
      expect(own).toBeGreaterThan(1.5 * others);
      const [best] = found.patches.filter((row) => row.element === element && row.label === label);
      expect(best).toMatchObject({ rank: 1, found: 1, width: 12, height: 12 });
    }
  } finally {
    await engine.dispose();
  }
});

test('mine --trends writes elements, curves and patches, and says how many rise and fall', async () => {
  const dataset = join(folder, 'data');
  cpSync(join(GOLDEN, 'mini-dataset'), dataset, { recursive: true });
  const labels = ['1920', '1950', '1980'];
  const run = join(folder, 'run');
  const common = { threads: 1, device: 'cpu', model: join(GOLDEN, 'tiny-sd15'), dataset } as const;
  await scan({ ...common, out: run, size: 'source', patch: 16, samples: 1, batch: 16 });
  const summary = await mine({ run, ...common, top: 8, evidenceImages: 0, trends: true, elements: 3, ensemble: 1 });
  const opened = await Run.open(run);
  expect((await readMine(opened))?.trends).toEqual(summary.trends);
  expect(Object.values(summary.trends ?? {}).reduce((sum, one) => sum + one, 0)).toBe(3);
  const elements = await readTable<ElementRow>(opened.mineFile('elements.parquet'));
  expect(elements.map(({ element }) => element)).toEqual([0, 1, 2]);
  const curves = await readTable<TrendRow>(opened.mineFile('trends.parquet'));
  expect(curves.map(({ label }) => label)).toEqual([...labels, ...labels, ...labels]);
  for (const { fraction, standard_error } of curves) {
    expect(fraction).toBeGreaterThanOrEqual(0);
    expect(standard_error).toBeGreaterThan(0);
  }
  for (const { image } of await readTable<TrendPatchRow>(opened.mineFile('trend-patches.parquet')))
    expect(existsSync(join(dataset, image))).toBe(true);
  // without them nothing is left of them
  await mine({ run, ...common, top: 8, evidenceImages: 0, ensemble: 1 });
  expect(existsSync(opened.mineFile('elements.parquet'))).toBe(false);
  await expect(mine({ run, ...common, elements: 3 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

/** The rows of boxes.csv. */
async function openBoxes(): Promise<
  { image: string; x: number; y: number; w: number; h: number; kind: string; city: string }[]
> {
  const [, ...lines] = (await readFile(join(folder, 'world', 'boxes.csv'), 'utf8')).trimEnd().split('\r\n');
  return lines.map((line) => {
    const [image = '', , x, y, w, h, , kind = '', city = ''] = line.split(',');
    return { image, x: Number(x), y: Number(y), w: Number(w), h: Number(h), kind, city };
  });
}
