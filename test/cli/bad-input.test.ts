// What users hand in by mistake, end to end: a bad image is skipped and listed, a bad model or option stops before work begins with the right exit
// code, finished work is kept, and nothing ends in a signal.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parse } from 'csv-parse/sync';
import sharp, { type Sharp } from 'sharp';
import type { ErrorCode } from '../../src/util/errors.js';
import { EXIT_CODES } from '../../src/util/errors.js';
import { NO_MAP } from '../../src/stages/report/map.js';
import { removeInTheEnd } from '../helpers/disk.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { cli, type Ran } from './cli.js';

const scratch = temporaryFolder();
const MODEL = path.join(GOLDEN, 'tiny-sd15');
const DATASET = path.join(GOLDEN, 'mini-dataset');
const WEIGHTS = path.join('unet', 'diffusion_pytorch_model.safetensors');
const QUICK = ['--samples', '1', '--batch', '4', '--patch', '16', '--device', 'cpu', '--threads', '1'];

const fresh = (name: string): string => mkdtempSync(path.join(scratch, `${name}-`));

function scan(dataset: string, model: string, out: string, ...more: string[]): Promise<Ran> {
  return cli(['scan', dataset, '--model', model, '--out', out, ...QUICK, '--json', ...more]);
}

function expectError(ran: Ran, codes: ErrorCode[], message: RegExp): void {
  expect(ran.signal).toBeNull();
  const { error } = JSON.parse(ran.stdout) as { error: { code: ErrorCode; message: string } };
  if (!codes.includes(error.code)) throw new Error(`${error.code}: ${error.message}\n${ran.stderr}`);
  expect(error.message).toMatch(message);
  expect(ran.code).toBe(EXIT_CODES[error.code]);
}

/** Nothing was scored: there is no finished shard. */
function expectNoWork(out: string): void {
  const shards = path.join(out, 'shards');
  expect(existsSync(shards) ? readdirSync(shards) : []).toEqual([]);
}

describe('models', () => {
  type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

  /** A copy of the model whose UNet weights were changed. */
  function changed(change: (header: Header, data: Buffer) => Buffer | void): string {
    const model = path.join(fresh('model'), 'model');
    cpSync(MODEL, model, { recursive: true });
    const bytes = readFileSync(path.join(MODEL, WEIGHTS));
    const length = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8')) as Header;
    const data = Buffer.from(bytes.subarray(8 + length));
    const written = change(header, data) ?? data;
    const text = Buffer.from(JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(path.join(model, WEIGHTS), Buffer.concat([size, text, written]));
    return model;
  }

  /** A copy of the model with a file or folder changed. */
  function edited(edit: (model: string) => void): string {
    const model = path.join(fresh('model'), 'model');
    cpSync(MODEL, model, { recursive: true });
    edit(model);
    return model;
  }

  const withoutKey = (part: string, file: string, key: string) => (): string =>
    edited((model) => {
      const config = path.join(model, part, file);
      const values = JSON.parse(readFileSync(config, 'utf8')) as Record<string, unknown>;
      delete values[key];
      writeFileSync(config, JSON.stringify(values));
    });

  const cases: [what: string, make: () => string, codes: ErrorCode[], message: RegExp][] = [
    [
      'truncated weights',
      () => edited((model) => truncateSync(path.join(model, WEIGHTS), 1_000_000)),
      ['WEIGHTS_INVALID'],
      /diffusion_pytorch_model\.safetensors/,
    ],
    [
      'weights truncated in the header',
      () => edited((model) => truncateSync(path.join(model, WEIGHTS), 100)),
      ['WEIGHTS_INVALID'],
      /diffusion_pytorch_model\.safetensors/,
    ],
    [
      'empty weights',
      () => edited((model) => truncateSync(path.join(model, WEIGHTS), 0)),
      ['WEIGHTS_INVALID'],
      /diffusion_pytorch_model\.safetensors/,
    ],
    [
      'bytes after the last tensor',
      () => changed((_, data) => Buffer.concat([data, Buffer.alloc(4096)])),
      ['WEIGHTS_INVALID'],
      /diffusion_pytorch_model\.safetensors/,
    ],
    [
      'a header that claims to be longer than the file',
      () =>
        edited((model) => {
          const bytes = readFileSync(path.join(model, WEIGHTS));
          bytes.writeBigUInt64LE(2n ** 40n, 0);
          writeFileSync(path.join(model, WEIGHTS), bytes);
        }),
      ['WEIGHTS_INVALID'],
      /header/,
    ],
    [
      'a tensor past the end',
      () =>
        changed((header) => {
          const one = header['conv_in.weight'];
          if (one) one.data_offsets = [2 ** 50, 2 ** 50 + (one.data_offsets[1] - one.data_offsets[0])];
        }),
      ['WEIGHTS_INVALID'],
      /conv_in\.weight|offset|bytes/,
    ],
    [
      'overlapping tensors',
      () =>
        changed((header) => {
          const [a, b] = [header['conv_norm_out.weight'], header['conv_norm_out.bias']];
          if (a && b) a.data_offsets = b.data_offsets;
        }),
      ['WEIGHTS_INVALID'],
      /overlap/,
    ],
    [
      'a shape that does not match its bytes',
      () =>
        changed((header) => {
          const one = header['conv_in.weight'];
          if (one) one.shape = [16, 4, 3, 2];
        }),
      ['WEIGHTS_INVALID'],
      /conv_in\.weight/,
    ],
    [
      'an unknown dtype',
      () =>
        changed((header) => {
          const one = header['conv_in.weight'];
          if (one) one.dtype = 'F8_E4M3';
        }),
      ['WEIGHTS_INVALID'],
      /F8_E4M3/,
    ],
    [
      'whole numbers for weights',
      () =>
        changed((header) => {
          const one = header['conv_in.weight'];
          if (one) one.dtype = 'I32';
        }),
      ['WEIGHTS_INVALID', 'MODEL_INVALID'],
      /conv_in\.weight/,
    ],
    [
      'NaN weights',
      () =>
        changed((header, data) => {
          data.writeFloatLE(NaN, (header['mid_block.resnets.0.conv1.weight']?.data_offsets[0] ?? 0) + 40);
        }),
      ['WEIGHTS_INVALID'],
      /mid_block\.resnets\.0\.conv1\.weight.*NaN/,
    ],
    [
      'a tensor that is not there',
      () =>
        changed((header) => {
          const one = header['conv_norm_out.bias'];
          if (one) header['conv_norm_out.bias_'] = one;
          delete header['conv_norm_out.bias'];
        }),
      ['MODEL_INVALID'],
      /conv_norm_out\.bias/,
    ],
    [
      'a UNet config without its channels',
      withoutKey('unet', 'config.json', 'block_out_channels'),
      ['MODEL_INVALID'],
      /block_out_channels/,
    ],
    [
      'a UNet config without its block types',
      withoutKey('unet', 'config.json', 'down_block_types'),
      ['MODEL_INVALID'],
      /down_block_types/,
    ],
    [
      'a VAE config without its channels',
      withoutKey('vae', 'config.json', 'block_out_channels'),
      ['MODEL_INVALID'],
      /block_out_channels/,
    ],
    [
      'a text encoder config without its size',
      withoutKey('text_encoder', 'config.json', 'hidden_size'),
      ['MODEL_INVALID'],
      /hidden_size/,
    ],
    [
      'a config that is no JSON',
      () => edited((model) => writeFileSync(path.join(model, 'unet', 'config.json'), '{')),
      ['MODEL_INVALID'],
      /config\.json/,
    ],
    ['no VAE', () => edited((model) => rmSync(path.join(model, 'vae'), { recursive: true })), ['MODEL_INVALID'], /vae/],
    [
      'no tokenizer',
      () => edited((model) => rmSync(path.join(model, 'tokenizer'), { recursive: true })),
      ['MODEL_INVALID'],
      /tokenizer/,
    ],
    [
      'no vocabulary',
      () => edited((model) => rmSync(path.join(model, 'tokenizer', 'vocab.json'))),
      ['MODEL_INVALID'],
      /vocab\.json/,
    ],
    [
      'only pickled weights',
      () =>
        edited((model) => {
          rmSync(path.join(model, WEIGHTS));
          writeFileSync(path.join(model, 'unet', 'diffusion_pytorch_model.bin'), 'pickle');
        }),
      ['MODEL_INVALID', 'MODEL_UNSUPPORTED', 'WEIGHTS_INVALID'],
      /\.bin|safetensors/,
    ],
    ['a file in place of a model', () => path.join(MODEL, 'model_index.json'), ['MODEL_INVALID'], /model_index\.json/],
    ['an empty folder', () => fresh('nothing'), ['MODEL_INVALID'], /model_index\.json/],
  ];

  test.each(cases)('%s', async (_what, make, codes, message) => {
    const out = path.join(fresh('run'), 'run');
    expectError(await scan(DATASET, make(), out), codes, message);
    expectNoWork(out);
  });
});

describe('images', () => {
  const noise = (width: number, height: number, channels: 1 | 3 | 4 = 3): Sharp =>
    sharp(Buffer.from(Uint8Array.from({ length: width * height * channels }, (_, i) => (i * 2654435761) >>> 24)), {
      raw: { width, height, channels },
    });

  test('bad ones are skipped and listed with a reason, odd ones are scored upright', async () => {
    const dataset = fresh('images');
    const label = path.join(dataset, '1950');
    mkdirSync(label);
    const jpeg = await noise(80, 64).jpeg().toBuffer();
    writeFileSync(path.join(label, 'empty.jpg'), '');
    writeFileSync(path.join(label, 'truncated.jpg'), jpeg.subarray(0, jpeg.length / 2));
    writeFileSync(path.join(label, 'text.png'), 'This is not an image.');
    await noise(1, 1).png().toFile(path.join(label, 'dot.png'));
    await noise(30_000, 20).png().toFile(path.join(label, 'wide.png'));
    await noise(80, 64, 1).toColourspace('b-w').png().toFile(path.join(label, 'grey.png'));
    await noise(80, 64, 4).png().toFile(path.join(label, 'alpha.png'));
    await noise(80, 64).toColourspace('cmyk').jpeg().toFile(path.join(label, 'cmyk.jpg'));
    await noise(80, 64).toColourspace('rgb16').png().toFile(path.join(label, 'sixteen.png'));
    await noise(80, 64).withMetadata({ orientation: 6 }).jpeg().toFile(path.join(label, 'turned.jpg'));
    writeFileSync(path.join(dataset, 'beside.txt'), 'ignored');

    const out = path.join(fresh('run'), 'run');
    const ran = await scan(dataset, MODEL, out, '--size', 'source');
    expect(ran).toMatchObject({ code: 0, signal: null });
    expect(JSON.parse(ran.stdout)).toMatchObject({ complete: true, images: 10, scored: 5, skipped: 5 });
    const skipped = readFileSync(path.join(out, 'skipped.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { image: string; reason: string });
    const reasons = Object.fromEntries(skipped.map(({ image, reason }) => [image, reason]));
    expect(Object.keys(reasons).sort()).toEqual([
      '1950/dot.png',
      '1950/empty.jpg',
      '1950/text.png',
      '1950/truncated.jpg',
      '1950/wide.png',
    ]);
    expect(reasons['1950/empty.jpg']).toContain('empty');
    expect(reasons['1950/dot.png']).toContain('smaller than the patch');
    expect(reasons['1950/wide.png']).toContain('16 times');
    for (const [name, reason] of Object.entries(reasons)) {
      expect(ran.stderr).toContain(`skipped ${name}, which ${reason}`);
      expect(reason).not.toContain(path.basename(name));
    }

    const exported = await cli(['export', out, '--table', 'images', '--format', 'json']);
    const images = JSON.parse(exported.stdout) as { image: string; source_width: number; source_height: number }[];
    const sizes = Object.fromEntries(
      images.map(({ image, source_width, source_height }) => [image, [source_width, source_height]]),
    );
    expect(sizes).toEqual({
      '1950/alpha.png': [80, 64],
      '1950/cmyk.jpg': [80, 64],
      '1950/grey.png': [80, 64],
      '1950/sixteen.png': [80, 64],
      '1950/turned.jpg': [64, 80],
    });
  });

  test('a dataset of only bad images is an error that lists them', async () => {
    const dataset = fresh('images');
    mkdirSync(path.join(dataset, 'a'));
    writeFileSync(path.join(dataset, 'a', 'empty.png'), '');
    const ran = await scan(dataset, MODEL, path.join(fresh('run'), 'run'));
    expectError(ran, ['IMAGE_UNREADABLE'], /None of 1 image could be scored/);
    expect(ran.stderr).toContain('skipped a/empty.png');
  });
});

describe('labels and tables', () => {
  const LABELS = [
    '<script>alert(1)</script>',
    'a/b',
    '../up',
    '🚗 🏎️',
    'say "yes", then',
    "=cmd|' /C calc'!A1",
    'Ωmega',
  ];

  function csv(folder: string, rows: string[][]): string {
    const file = path.join(folder, 'images.csv');
    writeFileSync(file, rows.map((row) => row.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(',')).join('\n'));
    return file;
  }

  test('of any text go through the whole pipeline, and images from anywhere', async () => {
    const outer = fresh('labels');
    const folder = path.join(outer, 'inner');
    mkdirSync(folder);
    cpSync(path.join(DATASET, '1920'), path.join(folder, 'images'), { recursive: true });
    cpSync(path.join(DATASET, '1950', '1950_0.png'), path.join(outer, 'outside.png'));
    const rows = [
      ...LABELS.flatMap((label) => ['1920_0.png', '1920_1.png'].map((name) => [`images/${name}`, label])),
      ['../outside.png', '../up'],
      [path.join(DATASET, '1980', '1980_0.png'), 'a/b'],
    ];
    const out = path.join(folder, 'run');
    const ran = await cli([
      'run',
      csv(folder, [['path', 'label'], ...rows]),
      '--model',
      MODEL,
      '--out',
      out,
      ...QUICK,
      '--clusters',
      '2',
      '--ensemble',
      '1',
      '--map-patches',
      '0',
      '--json',
    ]);
    expect(ran).toMatchObject({ code: 0, signal: null });
    const summary = JSON.parse(ran.stdout) as {
      scan: { labels: string[]; scored: number };
      report: { labels: number; path: string };
    };
    expect(summary).toMatchObject({ scan: { scored: 16 }, report: { labels: LABELS.length, missing: [] } });
    expect([...summary.scan.labels].sort()).toEqual([...LABELS].sort());
    expect(readFileSync(summary.report.path, 'utf8')).not.toContain('alert(1)');
    expect(readFileSync(path.join(out, 'report', 'data', 'map.js'), 'utf8')).toBe(NO_MAP);
    for (const name of readdirSync(path.join(out, 'report', 'data')))
      expect(readFileSync(path.join(out, 'report', 'data', name), 'utf8')).not.toContain('<script>');
    // nothing was written outside the run
    expect(readdirSync(folder).sort()).toEqual(['images', 'images.csv', 'run']);
    expect(readdirSync(outer).sort()).toEqual(['inner', 'outside.png']);

    const exported = await cli(['export', out, '--table', 'patches', '--format', 'csv']);
    const patches = parse<{ image: string; label: string; cluster: string; list: string }>(exported.stdout, {
      columns: true,
    });
    expect(new Set(patches.map(({ image }) => image))).toEqual(new Set(rows.map(([image]) => image)));
    expect(new Set(patches.map(({ label }) => label))).toEqual(new Set(LABELS));
    expect(patches.filter(({ list }) => list === 'top').every(({ cluster }) => /^\d+$/.test(cluster))).toBe(true);
  });

  test('a table without the columns, or with rows that cannot be used, stops before work begins', async () => {
    const folder = fresh('tables');
    cpSync(path.join(DATASET, '1920'), path.join(folder, 'images'), { recursive: true });
    const out = path.join(folder, 'run');
    const good = 'images/1920_0.png';
    const tables: [string[][], RegExp][] = [
      [
        [
          ['file', 'label'],
          [good, 'a'],
        ],
        /no 'image'/,
      ],
      [
        [
          ['path', 'decade'],
          [good, 'a'],
        ],
        /no 'label'/,
      ],
      [
        [
          ['path', 'label'],
          ['../outside.png', 'a'],
        ],
        /there is no file '\.\.\/outside\.png'/,
      ],
      [
        [
          ['path', 'label'],
          [good, 'a\0b'],
        ],
        /NUL/,
      ],
      [
        [
          ['path', 'label'],
          ['images/absent.png', 'a'],
        ],
        /absent\.png/,
      ],
      [
        [
          ['path', 'label'],
          [good, ''],
        ],
        /'label' is empty/,
      ],
      [[['path', 'label']], /no rows/],
    ];
    for (const [rows, message] of tables)
      expectError(await scan(csv(folder, rows), MODEL, out), ['DATASET_INVALID'], message);
    expectNoWork(out);
  });

  test('folders that are no dataset stop before work begins', async () => {
    const out = path.join(fresh('run'), 'run');
    expectError(await scan(path.join(scratch, 'absent'), MODEL, out), ['DATASET_INVALID'], /There is no dataset/);
    expectError(await scan(fresh('empty'), MODEL, out), ['DATASET_INVALID'], /./);
    expectNoWork(out);
  });
});

describe('run directories', () => {
  test('options of mining that the model cannot take stop `run` before the scan', async () => {
    const out = path.join(scratch, 'late');
    for (const [option, value] of [
      ['--up-block', '4'],
      ['--dift-t', '1000'],
    ] as const) {
      const ran = await cli(['run', DATASET, '--model', MODEL, '--out', out, ...QUICK, '--json', option, value]);
      expectError(ran, ['INVALID_ARGUMENT'], new RegExp(option));
      expect(existsSync(out)).toBe(false);
    }
  });

  test('of another run are refused and left as they are', async () => {
    const out = path.join(fresh('run'), 'run');
    expect(await scan(DATASET, MODEL, out)).toMatchObject({ code: 0 });
    const manifest = readFileSync(path.join(out, 'manifest.json'), 'utf8');
    expectError(await scan(DATASET, MODEL, out, '--seed', '7'), ['RUN_MISMATCH'], /seed/);
    expectError(
      await scan(path.join(DATASET), path.join(GOLDEN, '..', 'golden', 'tiny-sd15'), out, '--prompt', 'A {label}.'),
      ['RUN_MISMATCH'],
      /prompt/,
    );
    expect(readFileSync(path.join(out, 'manifest.json'), 'utf8')).toBe(manifest);
    expect(JSON.parse((await scan(DATASET, MODEL, out)).stdout)).toMatchObject({
      resumed: true,
      unetCalls: 0,
      complete: true,
    });
  });

  test('that are invalid are refused', async () => {
    const folder = fresh('full');
    writeFileSync(path.join(folder, 'thesis.txt'), 'do not touch');
    expectError(await scan(DATASET, MODEL, folder), ['RUN_MISMATCH'], /thesis\.txt/);
    expect(readdirSync(folder)).toEqual(['thesis.txt']);
    for (const command of ['mine', 'report', 'export']) {
      expectError(await cli([command, folder, '--json']), ['RUN_INVALID'], /is not a run directory/);
      expectError(await cli([command, path.join(folder, 'none'), '--json']), ['RUN_INVALID'], /There is no folder/);
    }
  });

  test('before their time are refused with what is missing', async () => {
    const out = path.join(fresh('run'), 'run');
    expect(await scan(DATASET, MODEL, out, '--shard-size', '6', '--shard', '0/2')).toMatchObject({ code: 0 });
    expectError(await cli(['mine', out, '--json']), ['RUN_INVALID'], /shard/);
    expectError(await cli(['report', out, '--json']), ['RUN_INVALID'], /mine/);
    expectError(await cli(['export', out, '--table', 'patches', '--json']), ['RUN_INVALID'], /mined/);
  });
});

describe('interruption', () => {
  test('leaves a run that resumes, with exit code 130', async () => {
    const out = path.join(fresh('run'), 'run');
    const args = [
      'scan',
      DATASET,
      '--model',
      MODEL,
      '--out',
      out,
      ...QUICK,
      '--samples',
      '8',
      '--shard-size',
      '2',
      '--json',
    ];
    let sent = false;
    const stopped = await cli([...args, '-v'], {
      onStderr: (text, kill) => {
        if (sent || !text.includes('Shard ')) return;
        sent = true;
        kill('SIGINT');
      },
    });
    expect(stopped).toMatchObject({ code: EXIT_CODES.CANCELLED, signal: null });
    expect(JSON.parse(stopped.stdout)).toMatchObject({
      error: { code: 'CANCELLED', hint: expect.stringContaining('same command') },
    });
    const done = readdirSync(path.join(out, 'shards')).filter((name) => /^\d+$/.test(name)).length;
    expect(done).toBeGreaterThan(0);
    const resumed = await cli(args);
    expect(JSON.parse(resumed.stdout)).toMatchObject({ complete: true, resumed: true, scored: 12 });
    if (done < 6) expect((JSON.parse(resumed.stdout) as { shards: { here: number } }).shards.here).toBe(6 - done);
  });

  test('SIGTERM acts the same', async () => {
    const out = path.join(fresh('run'), 'run');
    let sent = false;
    const long = [...QUICK, '--samples', '500', '--shard-size', '64'];
    const stopped = await cli(['scan', DATASET, '--model', MODEL, '--out', out, ...long], {
      onStderr: (text, kill) => {
        if (sent || !text.includes('Scanning into')) return;
        sent = true;
        kill('SIGTERM');
      },
    });
    expect(stopped).toMatchObject({ code: EXIT_CODES.CANCELLED, signal: null, stdout: '' });
    expect(stopped.stderr).toContain('error: Interrupted.');
    expect(stopped.stderr).toMatch(/hint: Kept: 0 of 1 shard \(0 of 12 images\).* Run the same command to resume\./);
  });

  test('a second SIGTERM ends the scan at once; the same command resumes it', async () => {
    const out = path.join(fresh('run'), 'run');
    const args = ['scan', DATASET, '--model', MODEL, '--out', out, ...QUICK, '--samples', '12', '--shard-size', '2'];
    let sent = 0;
    const ended = await cli([...args, '-v'], {
      onStderr: (text, kill) => {
        if ((sent === 0 && text.includes('Shard ')) || (sent === 1 && text.includes('SIGTERM'))) {
          sent += 1;
          kill('SIGTERM');
        }
      },
    });
    expect(sent).toBe(2);
    expect(['SIGTERM', null]).toContain(ended.signal); // null: it was faster
    const resumed = await cli([...args, '--json']);
    expect(JSON.parse(resumed.stdout)).toMatchObject({ complete: true, resumed: true, scored: 12 });
    expect(readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.tmp-'))).toEqual(
      [],
    );
  });
});

// 1 MB of tmpfs, where this process may mount one; apart from the scratch folder, which could not be removed around it.
const disk = mkdtempSync(path.join(tmpdir(), 'diffmine-disk-'));
removeInTheEnd(disk, disk);
const mounted =
  process.platform === 'linux' && spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]).status === 0;
if (!mounted) console.log('skipped: the full-disk test, because no tmpfs may be mounted here');

(mounted ? test : test.skip)('a full disk is an error that says so, and finished work is kept', async () => {
  const out = path.join(disk, 'run');
  const args = ['--shard-size', '2', '--per-image', '2'];
  // Room for the manifest and a shard or two.
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(path.join(disk, 'filler'), Buffer.alloc(bavail * bsize - 64 * 1024));
  const full = await scan(DATASET, MODEL, out, ...args);
  expectError(full, ['IO'], /disk is full|ENOSPC|No space/);
  rmSync(path.join(disk, 'filler'));
  const again = await scan(DATASET, MODEL, out, ...args);
  expect(again).toMatchObject({ code: 0, signal: null });
  expect(JSON.parse(again.stdout)).toMatchObject({ complete: true, scored: 12, skipped: 0 });
});
