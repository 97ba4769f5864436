// Measures contrast and noise by timestep on a few images, for --t-range auto and --t-weights.
import { readImage } from '../../data/index.js';
import { Engine, float32, fromInt64 } from '../../engine/index.js';
import { prepareConditions } from '../../models/index.js';
import { bestBins, type Pilot } from '../../runs/pilot.js';
import { DiffmineError } from '../../util/errors.js';
import type { Hooks } from '../../util/hooks.js';
import { count, whole } from '../../web/html.js';
import { conditionsOf } from './contrasts.js';
import { promptsOf } from './prompts.js';
import type { Resolved } from './resolve.js';

/** Images measured, evenly spaced through the dataset. */
const IMAGES = 16;
/** Bins that the timesteps are divided into, each with two samples of independent noise. */
const BINS = 20;

/** UNet calls of a pilot, at most. `fanOut`: of a sample */
export const pilotCalls = (images: number, fanOut: number): number => Math.min(IMAGES, images) * 2 * BINS * fanOut;

/** Center of bin i of [tBegin, tEnd), and its begin. */
const centerOf = (tBegin: number, tEnd: number, i: number): number =>
  Math.floor(tBegin + ((i + 0.5) * (tEnd - tBegin)) / BINS);
const beginOf = (tBegin: number, tEnd: number, i: number): number => Math.round(tBegin + (i * (tEnd - tBegin)) / BINS);

/**
 * Runs the pilot of a resolved scan.
 *
 * @returns the draft's options with the range that --t-range auto chooses, and the pilot
 * @throws DATASET_INVALID where no image can be read; what the engine throws; CANCELLED
 */
export async function runPilot(
  resolved: Resolved,
  { signal, onLog }: Pick<Hooks, 'signal' | 'onLog'>,
): Promise<Pick<Resolved, 'draft'>> {
  const { draft, model, autoRange } = resolved;
  const { tBegin, tEnd, dtype } = draft.options;
  const call = { signal };
  onLog?.(`Measuring contrast and noise by timestep on up to ${IMAGES} images.`);
  const engine = new Engine({ device: resolved.devices[0].id, dtype, threads: resolved.threads });
  let pilot: Pilot;
  try {
    await engine.loadModel(model.source, call);
    pilot = await measure(resolved, engine, call);
  } finally {
    await engine.dispose();
  }
  const [first, last] = bestBins(pilot);
  const range = autoRange
    ? { tBegin: beginOf(tBegin, tEnd, first), tEnd: beginOf(tBegin, tEnd, last + 1) }
    : { tBegin, tEnd };
  const chose = autoRange ? ` \`tRange\` auto takes timesteps ${range.tBegin} to ${range.tEnd - 1}.` : '';
  onLog?.(`Measured ${count(pilot.images, 'image')} with ${whole(pilot.unetCalls)} UNet calls as a pilot.${chose}`);
  return { draft: { ...draft, options: { ...draft.options, ...range }, pilot } };
}

async function measure(resolved: Resolved, engine: Engine, call: { signal?: AbortSignal | undefined }): Promise<Pilot> {
  const { images, sizes, draft, planFor } = resolved;
  const { tBegin, tEnd, seed, batch } = draft.options;
  const samples = 2 * BINS;
  const contrasts = planFor(samples);
  const conditions = await prepareConditions(engine, resolved.model, promptsOf(resolved), call);
  const timesteps = Array.from({ length: samples }, (_, n) => centerOf(tBegin, tEnd, Math.floor(n / 2)));
  const [contrast, noise] = [new Float64Array(BINS), new Float64Array(BINS)];
  const pilot: Pilot = {
    images: 0,
    unetCalls: 0,
    patch: 0,
    timesteps: timesteps.filter((_, n) => n % 2 === 0),
    contrast: [],
    noise: [],
  };
  let places = 0;
  const wanted = Math.min(IMAGES, images.length);
  for (let i = 0; i < wanted; i += 1) {
    const image = images.at(Math.floor(((i + 0.5) * images.length) / wanted));
    const of = contrasts.of(image.label);
    const decoded = await readImage(image.file, sizes).catch((error: unknown) => {
      if (error instanceof DiffmineError && error.code === 'IMAGE_UNREADABLE') return undefined;
      throw error;
    });
    if (!of || !decoded) continue;
    const { pixels, width, height } = decoded;
    const { differences } = await engine.scoreTypicality(
      conditions,
      {
        images: [{ pixels, width, height }],
        conditions: conditionsOf([of]),
        subjects: [of.subjects],
        weights: [of.weights],
        keys: [0],
        timesteps: fromInt64([samples], timesteps),
      },
      // noise that no scan of a seed below 2^53 draws: what is measured here is independent of what is scored
      {
        samples,
        seed: 2n ** 63n + BigInt(seed),
        tBegin,
        tEnd,
        sampler: 'reference',
        ...(draft.options.loss ? { loss: draft.options.loss } : {}),
        patch: 0,
        perImage: 0,
        batch,
        keepDifferences: true,
      },
      call,
    );
    if (!differences) throw new DiffmineError('INTERNAL', 'The engine returned no loss differences.');
    // localizations have no patches: theirs are as large as a scan's would be
    const patch = draft.options.patch || Math.max(1, Math.floor(Math.min(width, height) / 8));
    const scores = await engine.patchScores(differences, height, width, patch, call); // [1, N, M, R, S]
    const values = float32(scores);
    const each = values.length / samples;
    for (let bin = 0; bin < BINS; bin += 1) {
      for (let place = 0; place < each; place += 1) {
        const a = values[2 * bin * each + place] as number;
        const b = values[(2 * bin + 1) * each + place] as number;
        contrast[bin] = (contrast[bin] as number) + a * b;
        noise[bin] = (noise[bin] as number) + (a - b) ** 2 / 2;
      }
    }
    places += each;
    pilot.images += 1;
    pilot.unetCalls += samples * of.calls;
    pilot.patch = patch;
  }
  if (pilot.images === 0)
    throw new DiffmineError(
      'DATASET_INVALID',
      'None of the images of the pilot could be read.',
      'Give `tRange` as two fractions and no `tWeights`.',
    );
  const root = (sum: number): number => Number(Math.sqrt(Math.max(0, sum / places)).toPrecision(6));
  return { ...pilot, contrast: [...contrast].map(root), noise: [...noise].map(root) };
}
