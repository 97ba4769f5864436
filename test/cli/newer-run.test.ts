// Runs of a newer version of diffmine: every command that opens one says so, and leaves it as it is.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resultBytes } from '../helpers/bytes.js';
import { cli, hasAddon, ROOT } from './cli.js';

const GOLDEN = join(ROOT, 'test', 'data', 'golden');
const ON_A_QUEUE = { DIFFMINE_QUEUE: 'redis://127.0.0.1:1' };

(hasAddon ? describe : describe.skip)('a run of a newer version', () => {
  const folder = mkdtempSync(join(tmpdir(), 'diffmine-newer-'));
  const at = (name: string): string => join(folder, name);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const work = [join(GOLDEN, 'mini-dataset'), '--model', join(GOLDEN, 'tiny-sd15'), '--size', '32', '--device', 'cpu'];
  const scan = [...work, '--patch', '8', '--samples', '1', '--out', at('run')];
  const commands: [kind: string, args: string[], env?: Record<string, string>][] = [
    ['run', ['scan', ...scan]],
    ['run', ['run', ...scan]],
    ['run', ['mine', at('run')]],
    ['run', ['report', at('run')]],
    ['run', ['evaluate', at('run'), '--boxes', at('boxes.csv')]],
    ['run', ['localize', ...work, '--samples', '1', '--out', at('run')]],
    ['run', ['export', at('run'), '--table', 'patches', '--format', 'csv', '--out', at('patches.csv')]],
    ['run', ['compare', at('run'), at('run'), '--out', at('compared')]],
    ['run', ['inspect', at('run')]],
    ['run', ['status', at('run')]],
    ['run', ['retry', at('run')], ON_A_QUEUE],
    ['run', ['cancel', at('run')], ON_A_QUEUE],
    ['run', ['push', at('run'), 's3://runs/run']],
    ['translation', ['translate', ...work, '--out', at('translation')]],
    ['translation', ['cotypicality', at('translation'), ...work.slice(1), '--out', at('changes')]],
    ['translation', ['status', at('translation')]],
    ['cotypicality', ['status', at('cotypicality')]],
  ];

  beforeAll(() => {
    writeFileSync(at('boxes.csv'), 'image,x,y,w,h\n1920/1920_0.png,4,4,20,20\n');
    for (const kind of ['run', 'translation', 'cotypicality']) {
      mkdirSync(at(kind));
      writeFileSync(
        join(at(kind), 'manifest.json'),
        JSON.stringify({ format: `diffmine-${kind}-99`, version: '99.0.0', something: [] }),
      );
    }
  });

  test.each(commands.map(([kind, args, env]) => ({ kind, command: args[0], args, env })))(
    '$command of a $kind',
    async ({ kind, args, env }) => {
      const before = resultBytes(at(kind), ['.']);
      const { code, stderr } = await cli(args, env ? { env } : {});
      expect({ code, stderr }).toEqual({
        code: 3,
        stderr: expect.stringContaining(
          `error: ${at(kind)}/manifest.json was written by a newer version of diffmine (99.0.0): its format is diffmine-${kind}-99, this version reads diffmine-${kind}-`,
        ) as string,
      });
      expect(stderr).toMatch(/\nhint: Install that version or a later one\.\n$/);
      expect(resultBytes(at(kind), ['.'])).toEqual(before);
    },
  );
});
