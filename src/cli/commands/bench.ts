// bench: measures speed, and compares it with a baseline in CI.
import { appendFile } from 'node:fs/promises';
import type { z } from 'zod';
import type { Dtype } from '../../engine/types.js';
import type { BenchOptions } from '../../tools/bench/bench.js';
import type { BenchReport } from '../../tools/bench/report.js';
import { benchMarkdown } from '../../tools/bench/markdown.js';
import { OPTIMIZATIONS } from '../../tools/bench/optimizations.js';
import { pick } from '../../util/pick.js';
import { DiffmineError, EXIT_CODES } from '../../util/errors.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { resolved } from '../../options/check.js';
import { BENCH } from '../../tools/bench/options.js';
import { benchText } from '../bench-text.js';
import { optionsOf } from '../../options/option.js';
import { DRY_RUN } from '../../options/shared.js';
import { command } from '../command.js';
import { benchPlanText } from '../dry-run.js';

type Values = z.output<typeof BENCH>;

/** Where --summary goes. @throws INVALID_ARGUMENT for auto outside of a job */
function summaryFile(where: string): { file: string; append: boolean } {
  if (where !== 'auto') return { file: where, append: false };
  const file = process.env['GITHUB_STEP_SUMMARY'];
  if (!file)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      '--summary auto needs the environment variable GITHUB_STEP_SUMMARY, which only GitHub jobs have.',
      'Give a file instead: --summary bench.md.',
    );
  return { file, append: true };
}

/** @throws INVALID_ARGUMENT for options that do not go together */
function checkTogether(values: Values, { tolerance }: { tolerance?: number | undefined }): void {
  const { training, pipelineModel, pipelineData, diffusers } = values;
  const refuse = (when: boolean, message: string, hint?: string): void => {
    if (when) throw new DiffmineError('INVALID_ARGUMENT', message, hint);
  };
  refuse(
    (pipelineModel === undefined) !== (pipelineData === undefined),
    '--pipeline-model and --pipeline-data go together.',
  );
  refuse(
    training === undefined && (values.trainBatch !== undefined || values.gradientCheckpointing),
    'There is no training to time.',
    'Name at least one size, or model: --training tiny,model.',
  );
  refuse(
    !values.unet && training === undefined && pipelineModel === undefined,
    'With --no-unet there is nothing to time.',
    'Name --training, or --pipeline-model and --pipeline-data.',
  );
  refuse(
    values.latents !== undefined && values.size !== undefined,
    '--latents and --size set the same value: give one of them.',
  );
  refuse(
    values.reference && (diffusers === undefined || pipelineModel === undefined),
    '--reference needs --diffusers, --pipeline-model and --pipeline-data.',
  );
  refuse(values.diffusersCompile !== undefined && diffusers === undefined, '--diffusers-compile needs --diffusers.');
  refuse(tolerance !== undefined && values.compare === undefined, '--tolerance needs --compare.');
  refuse(values.compare !== undefined && !values.unet, '--compare compares UNet calls: leave out --no-unet.');
}

/** Sides of the UNet's input, in latent cells; none with --no-unet. */
async function latentsOf(values: Values): Promise<number[]> {
  if (!values.unet) return [];
  if (!values.size) return values.latents ?? [32, 64];
  const { openSubject } = await import('../../tools/bench/subject.js');
  const { pixelsPerCell } = await openSubject(values.model, pick(values, 'variant'));
  const odd = values.size.find((side) => side % pixelsPerCell !== 0);
  if (odd !== undefined)
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `--size ${odd} is not a multiple of the ${pixelsPerCell} px of a cell of ${values.model}.`,
    );
  return values.size.map((side) => side / pixelsPerCell);
}

/** What the options ask to be timed. */
async function benchOptionsOf(
  values: Values,
  device: string,
  baseline: BenchReport | undefined,
): Promise<BenchOptions> {
  const gpu = device.startsWith('cuda');
  const allDtypes: Dtype[] = gpu ? ['fp16'] : ['fp32', 'bf16'];
  const defaultBatch = gpu ? 64 : 2;
  const { training, pipelineModel: model, pipelineData: dataset } = values;
  const options: BenchOptions = {
    model: values.model,
    repeats: values.repeats,
    stages: values.stages,
    ...pick(values, 'variant', 'threads', 'diffusers', 'diffusersCompile', 'disable'),
    device,
    dtypes: values.dtype.flatMap((dtype) => (dtype === 'auto' ? allDtypes : [dtype])),
    latents: await latentsOf(values),
    batches: values.batch.map((batch) => (batch === 'auto' ? defaultBatch : batch)),
    baseline,
    ablate: values.ablate?.flatMap((name) => (name === 'all' ? [...OPTIMIZATIONS] : [name])),
  };
  if (training)
    options.training = { what: training, batch: values.trainBatch, checkpointing: values.gradientCheckpointing };
  if (model !== undefined && dataset !== undefined)
    options.pipeline = { model, dataset, samples: values.pipelineSamples };
  if (values.reference) options.reference = { top: values.top, dtype: values.referenceDtype };
  return options;
}

export const benchCommand = command({
  native: true,
  options: optionsOf('bench', { ...BENCH.shape, dryRun: DRY_RUN }),
  examples: [
    [
      'diffmine bench --device cuda --batch 64,128 --out bench.json',
      'UNet calls, images and patches per second, and matmul utilization of the GPU',
    ],
    [
      'diffmine bench --device cuda --compare baseline.json --tolerance 5% --summary auto',
      'In CI: exit code 1 on a slowdown',
    ],
    ['diffmine bench --ablate all --latents 64', 'Speedup of each engine optimization on this machine'],
    ['diffmine bench --no-unet --training tiny,small --dtype fp32,bf16', 'Training steps per second of small models'],
    [
      'diffmine bench --no-unet --training model --dtype bf16 --gradient-checkpointing',
      "The same for Stable Diffusion 1.5's UNet",
    ],
  ],
  async handle({ dryRun, ...given }, { output, signal }) {
    const values = resolved(BENCH, given);
    checkTogether(values, given);
    const { bench, planBench } = await import('../../tools/bench/bench.js');
    const { compare } = await import('../../tools/bench/compare.js');
    const { readBaseline } = await import('../../tools/bench/report.js');
    const { chooseDevice } = await import('../../runs/device.js');
    // What would fail at the end fails before any time is spent.
    const summary = values.summary === undefined ? undefined : summaryFile(values.summary);
    const baseline = values.compare === undefined ? undefined : await readBaseline(values.compare);
    const { id: device } = chooseDevice(values.device, 'fp32');
    const options = await benchOptionsOf(values, device, baseline);
    for (const dtype of options.dtypes) chooseDevice(device, dtype);
    if (dryRun) {
      const writes = [values.out, summary?.file].filter((file) => file !== undefined);
      const plan = await planBench(options, writes, { signal, onLog: (line) => output.log(line) });
      return { text: benchPlanText(plan), json: plan };
    }
    const report = await bench(options, { signal, onLog: (line) => output.log(line) });
    const comparison = baseline && compare(baseline, report, values.tolerance);
    if (values.out !== undefined) await writeFileAtomic(values.out, `${JSON.stringify(report, null, 1)}\n`);
    if (summary?.append) await appendFile(summary.file, benchMarkdown(report, comparison));
    else if (summary) await writeFileAtomic(summary.file, benchMarkdown(report, comparison));
    return {
      text: benchText(report, comparison),
      json: comparison ? { ...report, comparison } : report,
      exitCode: comparison && !comparison.passed ? EXIT_CODES.CHECK_FAILED : 0,
    };
  },
});
