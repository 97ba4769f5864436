// Compares whole pipelines: `diffmine run` up to the clusters, and the loop of the paper's code reimplemented in diffusers
// (scripts/reference-loop.py), on the same images with the same model and samples.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { fillPrompt, openDataset } from '../../data/index.js';
import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import { mine } from '../../stages/mine/mine.js';
import { encodePrompts, openModel, variantOf } from '../../models/index.js';
import { Engine, foreignEnvironment, writeSafetensors } from '../../engine/index.js';
import type { Dtype } from '../../engine/types.js';
import { scan } from '../../stages/scan/scan.js';
import { seconds, spread, type Spread } from './figures.js';
import { REFERENCE_SCRIPT } from './diffusers.js';
import type { Hooks } from '../../util/hooks.js';

export interface ReferenceOptions {
  model: string;
  variant?: string | undefined;
  dataset: string;
  /** a Python with torch, diffusers, numpy and Pillow */
  python: string;
  device: string;
  dtype: Dtype;
  /** of the reference */
  theirDtype: Dtype;
  samples: number;
  /** patches per label whose features are taken */
  top: number;
  repeats: number;
  threads?: number;
}

/** Both, as wall time from the start of their work to the clusters, loading included; and what the reference's stages took. */
export interface ReferenceBench {
  images: number;
  samples: number;
  top: number;
  dtype: Dtype;
  theirDtype: Dtype;
  ours: Spread;
  theirs: Spread;
  /** theirs over ours, round by round: above 1 we are faster */
  ratio: Spread;
  /** of the reference's last round: imports, load, encode, unet, losses, patches, features, cluster */
  stages: Record<string, number>;
}

/** What reference-loop.py writes. */
interface FromReference {
  images: number;
  stages: Record<string, number>;
}

async function runReference(
  python: string,
  request: object,
  folder: string,
  threads: number,
  signal?: AbortSignal,
): Promise<FromReference> {
  const [input, output] = [join(folder, 'reference.json'), join(folder, 'reference-result.json')];
  await writeFile(input, JSON.stringify(request));
  const child = spawn(python, [REFERENCE_SCRIPT, input, output, String(threads)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: foreignEnvironment(),
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
  const stop = (): void => void child.kill('SIGKILL');
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop);
  const failure = await new Promise<string | undefined>((resolve) => {
    child.once('error', ({ message }) => resolve(message));
    child.once('close', (code, by) =>
      resolve(code === 0 ? undefined : (said.trim().split('\n').at(-1) ?? `it ended with ${String(by ?? code)}`)),
    );
  });
  signal?.removeEventListener('abort', stop);
  if (signal?.aborted) throw new DiffmineError('CANCELLED', 'The benchmark was cancelled.');
  if (failure !== undefined)
    throw new DiffmineError(
      'SETUP',
      `The reference implementation failed: ${failure}.`,
      'Give `diffusers` a Python that can import torch, diffusers, safetensors, numpy and PIL.',
    );
  return parseJson(await readFile(output, 'utf8')) as FromReference;
}

/**
 * Times both in turn, `repeats` times.
 *
 * The prompts' embeddings are handed to the reference in a file: encoding them takes no time worth measuring, and so it needs no
 * tokenizer. @throws MODEL_UNSUPPORTED for models that take no text or have no VAE; SETUP if the Python lacks something
 */
export async function benchReference(
  options: ReferenceOptions,
  hooks: Pick<Hooks, 'signal' | 'onLog'> = {},
): Promise<ReferenceBench> {
  const { dtype, theirDtype, samples, top, device, threads = 0 } = options;
  const model = await openModel(options.model, variantOf(options), { signal: hooks.signal, onLog: hooks.onLog });
  if (model.conditioning !== 'text' || model.kind !== 'latent' || model.tokenizers?.length !== 1)
    throw new DiffmineError(
      'MODEL_UNSUPPORTED',
      `The reference implementation needs a latent model with one text encoder, which ${options.model} is not.`,
    );
  const dataset = await openDataset(options.dataset);
  const patch = Math.max(1, Math.floor(model.sampleSize / 8));
  const folder = await mkdtemp(join(tmpdir(), 'diffmine-bench-'));
  try {
    const embeddings = join(folder, 'embeddings.safetensors');
    const engine = new Engine({ device, dtype: 'fp32', threads });
    try {
      await engine.loadModel(model.source);
      const prompts = [...dataset.labels.map((label) => fillPrompt('{label}', label)), null];
      writeSafetensors(embeddings, { embeddings: (await encodePrompts(engine, model, prompts)).text });
    } finally {
      await engine.dispose();
    }
    const request = {
      model: model.path,
      ...variantOf(model),
      embeddings,
      labels: dataset.labels,
      device,
      dtype: theirDtype,
      samples,
      top,
      patch,
      size: model.sampleSize,
      per_image: 5,
      clusters: 32,
      batch: 20,
      t_range: [100, 700],
      dift: { timestep: 161, up_block: 1, ensemble: 8 },
      images: dataset.images.map(({ file, label }) => ({ file, label })),
    };
    const times: { ours: number; theirs: number }[] = [];
    let last: FromReference = { images: 0, stages: {} };
    for (let round = 0; round < options.repeats; round++) {
      const run = join(folder, `run-${round}`);
      const ours = await seconds(async () => {
        await scan(
          {
            dataset: options.dataset,
            model: options.model,
            ...variantOf(options),
            out: run,
            samples,
            device,
            dtype,
            patch,
            ...(threads ? { threads } : {}),
          },
          { signal: hooks.signal },
        );
        await mine({ run, device, top, ...(threads ? { threads } : {}) }, { signal: hooks.signal });
      });
      const whole = await seconds(
        async () => void (last = await runReference(options.python, request, folder, threads, hooks.signal)),
      );
      const theirs = whole - (last.stages['imports'] ?? 0);
      times.push({ ours, theirs });
      hooks.onLog?.(
        `whole pipeline, round ${round + 1}: ${ours.toFixed(1)} s; the reference's loop ${theirs.toFixed(1)} s`,
      );
    }
    return {
      images: last.images,
      samples,
      top,
      dtype,
      theirDtype,
      ours: spread(times.map((one) => one.ours)),
      theirs: spread(times.map((one) => one.theirs)),
      ratio: spread(times.map(({ ours, theirs }) => theirs / ours)),
      stages: last.stages,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
