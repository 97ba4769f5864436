// Measures the UNet calls per second of a model on one device, with a few forward passes.
import { Engine, fromFloat32 } from '../engine/index.js';
import type { CallOptions, Dtype, EngineOptions } from '../engine/types.js';
import { prepareConditions, type ModelFolder } from '../models/index.js';
import { channelsOf } from '../models/denoiser.js';
import type { Shape } from './batch.js';

/** Seconds that the timed forward passes take, unless a single sample takes longer. */
const SECONDS = 1;
/** UNet calls of a sample. */
const CALLS = 2;

export interface Measured {
  model: ModelFolder;
  /** of the largest image */
  shape: Shape;
  /** two conditions, as prepareConditions takes them */
  prompts: readonly [string | null, string | null];
  dtype: Dtype;
  /** UNet calls per forward pass */
  batch: number;
}

/**
 * UNet calls per second of an engine of its own. Its input is zero, which makes no difference to the time. After a sample to warm up it times as many as
 * take about a second, at most a batch.
 *
 * @param keep takes the engine over, with its model; without it the engine is disposed
 */
export async function measureRate(
  { model, shape, prompts, dtype, batch }: Measured,
  options: Pick<EngineOptions, 'device' | 'threads' | 'tune'>,
  call: CallOptions = {},
  keep?: (engine: Engine) => void,
): Promise<number> {
  const { signal } = call;
  const engine = new Engine({ ...options, dtype });
  try {
    await engine.loadModel(model.source, call);
    const conditions = await prepareConditions(engine, model, prompts, { signal });
    const { rows, columns, height, width } = shape;
    const dims = [1, channelsOf(model.source), rows, columns];
    const input = {
      latents: fromFloat32(dims, new Float32Array(dims.reduce((product, size) => product * size))),
      height,
      width,
      conditions: [[0, 1]],
      subjects: [[0]],
      weights: [[[0, 1]]],
      keys: [0],
    };
    const time = async (samples: number): Promise<number> => {
      const begun = performance.now();
      await engine.scoreTypicality(
        conditions,
        input,
        {
          ...{ samples, seed: 0, tBegin: 0, tEnd: model.source.schedule.trainTimesteps, sampler: 'stratified' },
          ...{ patch: 0, perImage: 0, batch, keepMaps: true },
        },
        { signal },
      );
      return (performance.now() - begun) / 1000;
    };
    await time(1);
    const each = await time(1);
    const samples = Math.max(1, Math.min(Math.floor(batch / CALLS), Math.floor(SECONDS / each)));
    let rate = CALLS / each;
    if (samples > 1) {
      await time(samples); // a new shape takes longer once
      rate = (samples * CALLS) / (await time(samples));
    }
    if (keep) keep(engine);
    else await engine.dispose();
    return rate;
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}
