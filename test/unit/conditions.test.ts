// Prompts and labels become conditions of a loaded model.
import path from 'node:path';
import { encodePrompts, openModel, prepareConditions, type ModelFolder } from '../../src/models/index.js';
import { Engine, float32 } from '../../src/engine/index.js';
import { GOLDEN } from '../helpers/folders.js';

async function loaded(name: string): Promise<{ engine: Engine; model: ModelFolder }> {
  const model = await openModel(path.join(GOLDEN, name));
  const engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 2 });
  await engine.loadModel(model.source);
  return { engine, model };
}

test('prompts: in batches as one by one, each its own', async () => {
  const { engine, model } = await loaded('tiny-sd15');
  const prompts = Array.from({ length: 70 }, (_, i) => (i % 10 === 9 ? '' : `A car at the ${1900 + i}'s.`));
  const { text: all } = await encodePrompts(engine, model, prompts);
  expect(all.shape).toEqual([70, 77, 32]);
  const values = float32(all);
  const row = (i: number): Float32Array => values.subarray(i * 77 * 32, (i + 1) * 77 * 32);
  for (const i of [0, 31, 32, 64, 69]) {
    const alone = float32((await encodePrompts(engine, model, [prompts[i] as string])).text);
    expect(Math.max(...row(i).map((value, j) => Math.abs(value - (alone[j] as number))))).toBeLessThan(1e-5);
  }
  expect(Math.max(...row(0).map((value, j) => Math.abs(value - (row(1)[j] as number))))).toBeGreaterThan(1e-3);
  expect((await prepareConditions(engine, model, [...prompts, null])).count).toBe(71);
  await expect(encodePrompts(engine, model, [])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await engine.dispose();
});

test('labels: known ones and the null class', async () => {
  const { engine, model } = await loaded('tiny-fold');
  expect((await prepareConditions(engine, model, ['class2', 'class0', '', null])).count).toBe(4);
  await expect(prepareConditions(engine, model, ['class7'])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(encodePrompts(engine, model, ['A car.'])).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('does not take prompts') as unknown,
  });
  await engine.dispose();
});
