// Every golden number, recomputed; and that verify can fail.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { verifyText } from '../../src/cli/commands/verify.js';
import { float32, readSafetensors, writeSafetensors } from '../../src/engine/index.js';
import { verify, type VerifySummary } from '../../src/tools/verify/verify.js';
import { compareRelativeL2, compareTensors } from '../../src/tools/verify/compare.js';
import { fromFloat32, fromInt64 } from '../../src/engine/tensor.js';
import { GOLDEN, sharedGolden, temporaryFolder } from '../helpers/folders.js';

const scratch = temporaryFolder();
const shared = sharedGolden();
const withShared = shared ? describe : describe.skip;
if (!shared) console.log('skipped: the larger golden folder is not beside the repository (DIFFMINE_SHARED)');

const COMPUTED = [
  'add_noise',
  'aucpr',
  'blur',
  'class_labels',
  'clip_text',
  'clip_tokenize',
  'cotypicality',
  'ddim_invert',
  'ddim_sample',
  'ddim_step',
  'ddim_timesteps',
  'dift',
  'dift_sequence',
  'dit',
  'dit_typicality',
  'flow_timesteps',
  'kmeans',
  'lanczos_resize',
  'pnp_timesteps',
  'pnp_translate',
  'schedule',
  'sd3_text',
  'sd3_transformer',
  'sd3_typicality',
  'sdxl_text',
  'sdxl_typicality',
  'sdxl_unet',
  'select',
  't5_text',
  't5_tokenize',
  'train',
  'typicality',
  'unet',
  'vae_decode',
  'vae_encode',
];

function failures({ cases }: VerifySummary): string[] {
  return cases
    .filter(({ verdict }) => verdict === 'failed')
    .map(({ manifest, id, message }) => `${manifest} ${id}: ${message ?? ''}`);
}

/** Computed once: of whichever test asks first. */
let own: Promise<VerifySummary> | undefined;
const ofRepository = (): Promise<VerifySummary> => (own ??= verify({ folder: GOLDEN, device: 'cpu', dtype: 'fp32' }));

describe('the golden numbers of the repository', () => {
  test('in fp32 on the CPU', async () => {
    const summary = await ofRepository();
    expect(failures(summary)).toEqual([]);
    expect(
      summary.ops
        .filter(({ passed }) => passed > 0)
        .map(({ op }) => op)
        .sort(),
    ).toEqual(COMPUTED);
    // Only enlarging images is left out among what is computed, and it is said.
    const left = summary.cases.filter(({ op, verdict }) => COMPUTED.includes(op) && verdict === 'not checked');
    expect(left.map(({ id }) => id)).toEqual(
      left.filter(({ op, message }) => op === 'lanczos_resize' && message?.startsWith('enlarging')).map(({ id }) => id),
    );
    expect(left).toHaveLength(6);
  });

  test('in bf16: exact ops exact, tensors by relative L2', async () => {
    const summary = await verify({ folder: GOLDEN, device: 'cpu', dtype: 'bf16' });
    expect(failures(summary)).toEqual([]);
    const unet = summary.ops.find(({ op }) => op === 'unet');
    // bf16 must really have been used: fp32 is a thousand times nearer.
    expect(unet?.worst?.error).toBeGreaterThan(1e-4);
  });
});

withShared('the golden numbers beside the repository', () => {
  test('in fp32 on the CPU; those that the repository has too are above', async () => {
    const folder = mkdtempSync(path.join(scratch, 'golden-'));
    const file = (root: string, name: string): Buffer => readFileSync(path.join(root, name));
    const same = readdirSync(GOLDEN).filter(
      (name) =>
        name.endsWith('-golden') &&
        existsSync(path.join(shared ?? '', name)) &&
        ['manifest.json', 'golden.safetensors'].every((part) =>
          file(path.join(GOLDEN, name), part).equals(file(path.join(shared ?? '', name), part)),
        ),
    );
    for (const name of readdirSync(shared ?? '').filter((one) => !same.includes(one)))
      cpSync(path.join(shared ?? '', name), path.join(folder, name), { recursive: true });
    const summary = await verify({ folder, device: 'cpu', dtype: 'fp32' });
    expect(failures(summary)).toEqual([]);
    expect(summary.manifests + same.length).toBe(7);
    const cases = [...summary.cases, ...(await ofRepository()).cases.filter(({ manifest }) => same.includes(manifest))];
    expect(new Set(cases.map(({ manifest }) => manifest)).size).toBe(7);
    const passed = cases.filter(({ verdict }) => verdict === 'passed');
    expect(new Set(passed.map(({ op }) => op))).toEqual(new Set(cases.map(({ op }) => op)));
    expect(passed.length).toBeGreaterThanOrEqual(135);
    expect(summary.cases).toHaveLength(summary.passed + summary.failed + summary.notChecked);
  });

  test('the VAE under the key names of published SD 1.x files gives the same numbers', async () => {
    const folder = mkdtempSync(path.join(scratch, 'golden-'));
    cpSync(path.join(GOLDEN, 'tiny-sd15'), path.join(folder, 'tiny-sd15'), { recursive: true });
    const weights = path.join(folder, 'tiny-sd15', 'vae', 'diffusion_pytorch_model.safetensors');
    const legacy = path.join(shared ?? '', 'extras', 'tiny-sd15-vae-legacy-keys.safetensors');
    expect(
      Object.keys(readSafetensors(legacy)).some(
        (name) => name.endsWith('mid.attn_1.q.weight') || name.endsWith('.query.weight'),
      ),
    ).toBe(true);
    writeFileSync(weights, readFileSync(legacy));
    golden(folder, 'tiny-sd15', ({ op }) => op === 'vae_encode' || op === 'vae_decode');
    const summary = await verify({ folder, device: 'cpu', dtype: 'fp32' });
    expect(failures(summary)).toEqual([]);
    expect(summary).toMatchObject({ passed: 7, failed: 0, notChecked: 0 });
  });
});

interface Case {
  id: string;
  op: string;
  params: Record<string, unknown>;
  outputs: Record<string, string>;
}

/** Some cases of a golden folder, perhaps changed, in a folder of their own. */
function golden(
  folder: string,
  variant: string,
  keep: (one: Case) => boolean,
  change: (one: Case) => void = () => undefined,
): void {
  const from = path.join(GOLDEN, `${variant}-golden`);
  const to = path.join(folder, `${variant}-golden`);
  mkdirSync(to, { recursive: true });
  const manifest = JSON.parse(readFileSync(path.join(from, 'manifest.json'), 'utf8')) as { cases: Case[] };
  const cases = manifest.cases.filter(keep);
  cases.forEach(change);
  writeFileSync(path.join(to, 'manifest.json'), JSON.stringify({ ...manifest, cases }));
  cpSync(path.join(from, 'golden.safetensors'), path.join(to, 'golden.safetensors'));
}

describe('verify fails', () => {
  test('where one number of a reference is changed by a little more than the tolerance', async () => {
    const folder = mkdtempSync(path.join(scratch, 'golden-'));
    golden(folder, 'common', ({ id }) => id === 'schedule_linear' || id === 'select_0' || id === 'ddim_timesteps_10');
    const file = path.join(folder, 'common-golden', 'golden.safetensors');
    const tensors = readSafetensors(file);
    const betas = tensors['schedule_linear.out.betas'];
    const picks = tensors['select_0.out.top5'];
    if (!betas || !picks) throw new Error('the golden file has other names');
    const values = Float32Array.from(float32(betas));
    values[500] = (values[500] ?? 0) + 3e-6;
    tensors['schedule_linear.out.betas'] = fromFloat32(betas.shape, values);
    tensors['select_0.out.top5'] = fromInt64(picks.shape, [...Array(20).keys()]);
    writeSafetensors(file, tensors);
    const summary = await verify({ folder, device: 'cpu' });
    expect(summary).toMatchObject({ passed: 1, failed: 2, notChecked: 0 });
    expect(failures(summary)[0]).toContain('betas');
    expect(failures(summary)[1]).toContain('top5');
    expect(verifyText(summary)).toMatch(/schedule +1 +1 +3\.0e-6 .*betas +failed/);
  });

  test('reports a missing model, input or output; an unknown op is not checked', async () => {
    const folder = mkdtempSync(path.join(scratch, 'golden-'));
    golden(folder, 'tiny-fold', ({ op }) => op === 'class_labels');
    golden(
      folder,
      'common',
      ({ op, id }) => op === 'kmeans' || id.startsWith('schedule_'),
      (one) => {
        if (one.id === 'kmeans_0') one.outputs['extra'] = 'kmeans_0.out.labels';
        if (one.id === 'kmeans_1') delete one.params['k'];
        if (one.id === 'schedule_linear') one.op = 'schedule_of_tomorrow';
        if (one.id === 'schedule_scaled_linear') one.outputs['betas'] = 'no.such.tensor';
      },
    );
    const summary = await verify({ folder, device: 'cpu' });
    const verdicts = Object.fromEntries(
      summary.cases.map(({ id, verdict, message }) => [id, `${verdict}: ${message ?? ''}`]),
    );
    expect(verdicts).toMatchObject({
      cond: expect.stringMatching(/^failed: .*tiny-fold is missing/),
      kmeans_0: expect.stringMatching(/^failed: extra: was not computed/),
      kmeans_1: expect.stringMatching(/^failed: .*"k"/),
      schedule_linear: expect.stringMatching(/^not checked/),
      schedule_scaled_linear: expect.stringMatching(/^failed: .*no\.such\.tensor/),
      schedule_squaredcos_cap_v2: 'passed: ',
    });
  });

  test('where weights differ in one number', async () => {
    const folder = mkdtempSync(path.join(scratch, 'golden-'));
    cpSync(path.join(GOLDEN, 'tiny-fold'), path.join(folder, 'tiny-fold'), { recursive: true });
    const weights = path.join(folder, 'tiny-fold', 'unet', 'diffusion_pytorch_model.safetensors');
    const tensors = readSafetensors(weights);
    const bias = tensors['conv_in.bias'];
    if (!bias) throw new Error('the weights have other names');
    const values = Float32Array.from(float32(bias));
    values[3] = (values[3] ?? 0) + 0.01;
    tensors['conv_in.bias'] = fromFloat32(bias.shape, values);
    writeSafetensors(weights, tensors);
    golden(folder, 'tiny-fold', ({ op }) => op === 'unet' || op === 'add_noise');
    const summary = await verify({ folder, device: 'cpu' });
    expect(summary).toMatchObject({ passed: 1, failed: 3 });
  });

  test('with an error where there is nothing to verify', async () => {
    const folder = mkdtempSync(path.join(scratch, 'golden-'));
    await expect(verify({ folder })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(verify({ folder: path.join(folder, 'absent') })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    mkdirSync(path.join(folder, 'broken'));
    writeFileSync(path.join(folder, 'broken', 'manifest.json'), '{');
    await expect(verify({ folder })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('is not valid JSON'),
    });
  });

  test('when it is cancelled', async () => {
    const controller = new AbortController();
    const running = verify(
      { folder: GOLDEN, device: 'cpu' },
      { signal: controller.signal, onProgress: () => controller.abort() },
    );
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

describe('comparison', () => {
  const tensor = (...values: number[]) => fromFloat32([values.length], values);

  test('is element by element, and NaN is never equal', () => {
    expect(compareTensors(tensor(1, 100), tensor(1.05, 100), { atol: 0, rtol: 0.01 }).passed).toBe(false);
    expect(compareTensors(tensor(1.05, 100.9), tensor(1.05, 100), { atol: 0, rtol: 0.01 }).passed).toBe(true);
    expect(compareTensors(tensor(NaN), tensor(NaN), { atol: 1, rtol: 1 }).passed).toBe(false);
    expect(compareTensors(tensor(1, NaN), tensor(1, 2), { atol: 10, rtol: 1 }).passed).toBe(false);
    expect(compareTensors(tensor(1), tensor(1, 1), { atol: 10, rtol: 1 })).toMatchObject({
      passed: false,
      message: 'shape [1] where [2] was expected',
    });
    expect(compareTensors(fromInt64([2], [3, 4]), fromInt64([2], [3, 5]), { exact: true }).passed).toBe(false);
    expect(compareTensors(fromInt64([2], [3, 5]), fromInt64([2], [3, 5]), { exact: true })).toMatchObject({
      passed: true,
      fraction: 0,
    });
  });

  test('in reduced precision is over the whole tensor', () => {
    expect(compareRelativeL2(tensor(3, 4.1), tensor(3, 4), 0.021).passed).toBe(true);
    expect(compareRelativeL2(tensor(3, 4.1), tensor(3, 4), 0.019).passed).toBe(false);
    expect(compareRelativeL2(tensor(NaN, 4), tensor(3, 4), 1).passed).toBe(false);
    expect(compareRelativeL2(tensor(0, 0), tensor(0, 0), 0.01).passed).toBe(true);
  });
});
