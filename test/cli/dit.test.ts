// Diffusion transformers as their users run them. DiT: a small dataset of ImageNet classes is scanned, mined, inspected; images are sampled. What needs a UNet is refused.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetReadObjects } from 'hyparquet';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
let folder: string;
const at = (...names: string[]): string => join(folder, ...names);
const CPU = ['--device', 'cpu', '--threads', '1'];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-dit-'));
  cpSync(join(GOLDEN, 'tiny-dit'), at('model'), { recursive: true });
  const index = at('model', 'model_index.json');
  const names = ['tench, Tinca tinca', 'goldfish', 'golden retriever', 'crane', 'crane', 'maillot'];
  writeFileSync(
    index,
    JSON.stringify({
      ...(JSON.parse(readFileSync(index, 'utf8')) as object),
      id2label: Object.fromEntries(names.map((name, id) => [id, name])),
    }),
  );
  // By one of the class's names, by another way of writing it, and by its number.
  for (const [from, label] of [
    ['1920', 'Tinca tinca'],
    ['1950', 'Golden_Retriever'],
    ['1980', '4'],
  ] as const) {
    mkdirSync(at('data', label), { recursive: true });
    cpSync(join(GOLDEN, 'mini-dataset', from), at('data', label), { recursive: true });
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const withAddon = hasAddon ? test : test.skip;

withAddon(
  'a DiT is inspected, scanned and mined with features, without fine-tuning',
  async () => {
    const inspected = await cli(['inspect', at('model')]);
    expect(inspected).toMatchObject({ code: 0 });
    expect(inspected.stdout).toMatch(/architecture: dit\n/);
    expect(inspected.stdout).toMatch(/labels: tench, goldfish, golden retriever, 3, 4, maillot\n/);

    const scan = [
      'scan',
      at('data'),
      '--model',
      at('model'),
      '--out',
      at('run'),
      '--samples',
      '4',
      '--batch',
      '8',
      ...CPU,
    ];
    const scanned = await cli([...scan, '--size', '72', '--patch', '16']);
    expect(scanned).toMatchObject({ code: 0 });
    const manifest = JSON.parse(readFileSync(at('run', 'manifest.json'), 'utf8')) as object;
    expect(manifest).toMatchObject({
      model: { features: { upBlock: 1, diftT: 161 } },
      options: { tBegin: 100, tEnd: 500, size: 72 },
      conditions: ['4', 'Golden_Retriever', 'Tinca tinca'],
    });

    const mined = await cli(['mine', at('run'), '--clusters', '2', '--ensemble', '2', ...CPU, '--json']);
    expect(mined).toMatchObject({ code: 0 });
    expect(JSON.parse(mined.stdout)).toMatchObject({
      images: 12,
      conditions: ['4', 'Golden_Retriever', 'Tinca tinca'].map((condition) => ({ condition, clusters: 2 })),
    });
    expect(JSON.parse(readFileSync(at('run', 'mine', 'mine.json'), 'utf8'))).toMatchObject({
      options: { upBlock: 1, diftT: 161 },
    });
    const patches = await parquetReadObjects({ file: bufferOf(at('run', 'mine', 'patches.parquet')) });
    expect(patches.length).toBeGreaterThan(12);
    expect(new Set(patches.map(({ typicality }) => typicality)).size).toBeGreaterThan(10);

    expect(await cli(['mine', at('run'), '--up-block', '3', ...CPU])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('0 ... 2') as string,
    });
  },
  300_000,
);

withAddon(
  'a LoRA of a DiT is trained on classes, and mines',
  async () => {
    const train = ['train', at('data'), '--from', at('model'), '--out', at('lora'), '--lora-rank', '2', '--steps', '2'];
    const trained = await cli([...train, '--train-batch', '2', '--size', '48', '--sample-every', '0', ...CPU]);
    expect(trained).toMatchObject({ code: 0 });
    const scan = ['scan', at('data'), '--model', at('lora'), '--out', at('lora-run'), '--samples', '2'];
    expect(await cli([...scan, '--size', '48', '--patch', '16', ...CPU])).toMatchObject({ code: 0 });
    expect(JSON.parse(readFileSync(at('lora-run', 'manifest.json'), 'utf8'))).toMatchObject({
      options: { tBegin: 100, tEnd: 500 },
    });
  },
  300_000,
);

withAddon(
  'a DiT samples images, by any name of a class',
  async () => {
    const labels = ['--labels', 'Tinca tinca', '--labels', '4'];
    const sampled = await cli([
      'sample',
      at('model'),
      '--out',
      at('samples'),
      ...labels,
      '-n',
      '1',
      '--inference-steps',
      '2',
      ...CPU,
    ]);
    expect(sampled).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('Sampling 2 images of 64 x 64 px, 2 steps with guidance 3') as string,
    });
    expect(readdirSync(at('samples')).sort()).toEqual(['4', 'Tinca tinca', 'grid.png', 'samples.json']);
  },
  300_000,
);

withAddon(
  'what needs a UNet says so',
  async () => {
    expect(
      await cli(['translate', at('data'), '--model', at('model'), '--out', at('translated'), ...CPU]),
    ).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/needs a model with a UNet; this one is a DiT/) as string,
    });
    expect(await cli(['train', at('data'), '--from', at('model'), '--out', at('trained'), ...CPU])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/only a LoRA is trained[^]*--lora-rank/) as string,
    });
  },
  300_000,
);

withAddon(
  'Stable Diffusion 3 is scanned over its range of noise, mined, and sampled with Euler steps',
  async () => {
    const model = join(GOLDEN, 'tiny-sd3');
    const data = ['scan', join(GOLDEN, 'mini-dataset'), '--model', model, '--out', at('sd3')];
    const scanned = await cli([...data, '--samples', '2', '--size', '48', '--patch', '16', '--batch', '8', ...CPU]);
    expect(scanned).toMatchObject({ code: 0 });
    expect(JSON.parse(readFileSync(at('sd3', 'manifest.json'), 'utf8'))).toMatchObject({
      model: { features: { upBlock: 1, diftT: 260 } },
      options: { tBegin: 250, tEnd: 750 },
    });
    expect(await cli(['mine', at('sd3'), '--clusters', '2', '--ensemble', '1', ...CPU])).toMatchObject({ code: 0 });
    const labels = ['--labels', 'a car', '-n', '1', '--size', '48', '--inference-steps', '2'];
    expect(await cli(['sample', model, '--out', at('sd3-samples'), ...labels, ...CPU])).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('Sampling 1 image of 48 x 48 px, 2 steps') as string,
    });
  },
  300_000,
);

function bufferOf(file: string): ArrayBuffer {
  const bytes = readFileSync(file);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}
