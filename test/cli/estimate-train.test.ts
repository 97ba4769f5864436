// The estimate of a training on the command line, timed by training steps of its own.
import { cli, hasAddon } from './cli.js';

(hasAddon ? test : test.skip)('a size is timed, and the lines say what was measured', async () => {
  const ran = await cli(['estimate', 'train', '--new', 'tiny', '--train-batch', '2', '--threads', '1']);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toMatch(/^model: +the size tiny, 0\.654 million parameters$/m);
  expect(ran.stdout).toMatch(/^steps: +1,000 of 2 images at 32 px$/m);
  expect(ran.stdout).toMatch(/^time: +about .* on cpu in (fp32|bf16) at [\d.,]+ steps per second \(measured\)$/m);
});

test('without a model it says what to give', async () => {
  const ran = await cli(['estimate', 'train', 'photos']);
  expect(ran).toMatchObject({ code: 2, stdout: '' });
  expect(ran.stderr).toContain('Give one of --from, --new and --like.');
});
