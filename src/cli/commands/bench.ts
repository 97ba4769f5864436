// bench: measures speed, and compares it with a baseline in CI.
import { appendFile } from 'node:fs/promises';
import type { Dtype } from '../../engine/types.js';
import { benchMarkdown } from '../../tools/bench/markdown.js';
import { OPTIMIZATIONS } from '../../tools/bench/optimizations.js';
import { pick } from '../../util/pick.js';
import { DiffmineError, EXIT_CODES } from '../../util/errors.js';
import { writeFileAtomic } from '../../runs/atomic.js';
import { resolved } from '../../options/check.js';
import { BENCH } from '../../tools/bench/options.js';
import { benchText } from '../bench-text.js';
import { command } from '../command.js';

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

export const benchCommand = command({
  native: true,
  options: BENCH,
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
  async handle(asked, { output, signal }) {
    const values = resolved(BENCH, asked);
    const { bench } = await import('../../tools/bench/bench.js');
    const { compare } = await import('../../tools/bench/compare.js');
    const { readBaseline } = await import('../../tools/bench/report.js');
    const { openSubject } = await import('../../tools/bench/subject.js');
    const { chooseDevice } = await import('../../runs/device.js');
    const model = values.pipelineModel;
    const dataset = values.pipelineData;
    if ((model === undefined) !== (dataset === undefined))
      throw new DiffmineError('INVALID_ARGUMENT', '--pipeline-model and --pipeline-data go together.');
    const training = values.training;
    if (training === undefined && (values.trainBatch !== undefined || values.gradientCheckpointing)) {
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        'There is no training to time.',
        'Name at least one size, or model: --training tiny,model.',
      );
    }
    const unetCalls = values.unet;
    if (!unetCalls && training === undefined && model === undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        'With --no-unet there is nothing to time.',
        'Name --training, or --pipeline-model and --pipeline-data.',
      );
    if (values.latents && values.size)
      throw new DiffmineError('INVALID_ARGUMENT', '--latents and --size set the same value: give one of them.');
    if (values.reference && (values.diffusers === undefined || model === undefined))
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '--reference needs --diffusers, --pipeline-model and --pipeline-data.',
      );
    if (values.diffusersCompile !== undefined && values.diffusers === undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '--diffusers-compile needs --diffusers.');
    if (asked.tolerance !== undefined && values.compare === undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '--tolerance needs --compare.');
    if (values.compare !== undefined && !unetCalls)
      throw new DiffmineError('INVALID_ARGUMENT', '--compare compares UNet calls: leave out --no-unet.');
    // What would fail at the end fails before any time is spent.
    const summary = values.summary === undefined ? undefined : summaryFile(values.summary);
    const baseline = values.compare === undefined ? undefined : await readBaseline(values.compare);
    const { id: device } = chooseDevice(values.device, 'fp32');
    const gpu = device.startsWith('cuda');
    const allDtypes: Dtype[] = gpu ? ['fp16'] : ['fp32', 'bf16'];
    const dtypes = values.dtype.flatMap((dtype) => (dtype === 'auto' ? allDtypes : [dtype]));
    for (const dtype of dtypes) chooseDevice(device, dtype);
    let latents = values.latents ?? [32, 64];
    if (values.size) {
      const { pixelsPerCell } = await openSubject(values.model, pick(values, 'variant'));
      const odd = values.size.find((side) => side % pixelsPerCell !== 0);
      if (odd !== undefined)
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `--size ${odd} is not a multiple of the ${pixelsPerCell} px of a cell of ${values.model}.`,
        );
      latents = values.size.map((side) => side / pixelsPerCell);
    }
    const report = await bench(
      {
        model: values.model,
        device,
        dtypes,
        latents: unetCalls ? latents : [],
        batches: values.batch.map((batch) => (batch === 'auto' ? (gpu ? 64 : 2) : batch)),
        repeats: values.repeats,
        stages: values.stages,
        ...pick(values, 'variant', 'threads', 'diffusers', 'diffusersCompile', 'disable'),
        ...(baseline ? { baseline } : {}),
        ...(values.ablate
          ? { ablate: values.ablate.flatMap((name) => (name === 'all' ? [...OPTIMIZATIONS] : [name])) }
          : {}),
        ...(training && {
          training: {
            what: training,
            checkpointing: values.gradientCheckpointing,
            ...(values.trainBatch === undefined ? {} : { batch: values.trainBatch }),
          },
        }),
        ...(model === undefined || dataset === undefined
          ? {}
          : { pipeline: { model, dataset, samples: values.pipelineSamples } }),
        ...(values.reference
          ? { reference: { top: values.top, ...(values.referenceDtype ? { dtype: values.referenceDtype } : {}) } }
          : {}),
      },
      { signal, onLog: (line) => output.log(line) },
    );
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
