// The same bytes for any split and any number of workers: one process, several workers, parts, and several processes on one folder at once.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resultBytes } from '../helpers/bytes.js';
import { isNightly } from '../helpers/nightly.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');

const command = (out: string, ...more: string[]): string[] => [
  'scan',
  join(GOLDEN, 'mini-dataset'),
  '--model',
  join(GOLDEN, 'tiny-sd15'),
  '--size',
  'source',
  '--samples',
  '5',
  '--patch',
  '16',
  '--batch',
  '8',
  '--shard-size',
  '2',
  '--device',
  'cpu',
  '--threads',
  '1',
  '--out',
  out,
  ...more,
];

(hasAddon ? describe : describe.skip)('any split', () => {
  let folder: string;
  let reference: Record<string, string>;
  const at = (name: string): string => join(folder, name);
  const bytes = (name: string): Record<string, string> => resultBytes(at(name), ['shards', 'skipped.jsonl']);
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'diffmine-split-'));
    expect(await cli(command(at('one')))).toMatchObject({ code: 0 });
    reference = bytes('one');
    expect(Object.keys(reference)).toHaveLength(6 * 6 + 1);
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(isNightly ? ['2', '3', '8'] : ['3'])(
    '%s workers',
    async (workers) => {
      const { code, stdout } = await cli([...command(at(`workers-${workers}`), '--workers', workers), '--json']);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        complete: true,
        scored: 12,
        unetCalls: 120,
        shards: { total: 6, done: 6, here: 6 },
      });
      expect(bytes(`workers-${workers}`)).toEqual(reference);
    },
    300_000,
  );

  test('parts, one after the other and out of order', async () => {
    for (const part of ['2/4', '0/4', '3/4']) {
      const { code, stdout } = await cli([...command(at('parts'), '--shard', part), '--json']);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ complete: false });
    }
    const { stdout } = await cli([...command(at('parts'), '--shard', '1/4'), '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ complete: true, scored: 12 });
    expect(bytes('parts')).toEqual(reference);
  }, 300_000);

  test('three commands at once on one folder: each shard is scored once', async () => {
    const results = await Promise.all([1, 2, 3].map(async () => cli([...command(at('together')), '--json'])));
    expect(results.map(({ code }) => code)).toEqual([0, 0, 0]);
    const summaries = results.map(
      ({ stdout }) => JSON.parse(stdout) as { complete: boolean; shards: { here: number }; unetCalls: number },
    );
    expect(summaries.every(({ complete }) => complete)).toBe(true);
    expect(summaries.reduce((sum, { shards }) => sum + shards.here, 0)).toBe(6);
    expect(bytes('together')).toEqual(reference);
  }, 300_000);

  test('Ctrl-C with workers leaves a run that resumes', async () => {
    const stopped = await cli(command(at('stopped'), '--workers', '2'), {
      onStderr: (text, kill) => /Scanning into/.test(text) && kill('SIGINT'),
    });
    expect(stopped.signal).toBeNull();
    expect(stopped.code).toBe(130);
    expect(await cli(command(at('stopped')))).toMatchObject({ code: 0 });
    expect(bytes('stopped')).toEqual(reference);
  }, 300_000);

  test("an error in a worker is the command's error", async () => {
    // noises for images of another size: found by the worker's engine
    const replay = join(GOLDEN, 'e2e-tiny-sd15', 'result.safetensors');
    const { code, signal, stderr } = await cli(
      command(at('bad'), '--workers', '2', '--replay', replay, '--samples', '10', '--size', '32'),
    );
    expect({ code, signal }).toEqual({ code: 2, signal: null });
    expect(stderr).toContain('noises');
  }, 300_000);
});
