// Typicality, patch selection and DIFT features against the reference implementation.
import { addNoise, type Conditions, type Engine } from '../../../engine/index.js';
import { stack } from '../../../engine/join.js';
import { fromFloat32, fromInt64, int64Numbers, toFloat32 } from '../../../engine/tensor.js';
import type { ScoredPatch, Tensor, TypicalityOptions, TypicalityOutput } from '../../../engine/types.js';
import { compareTensors, type Comparison } from '../compare.js';
import type { Op, OpContext, OpResult } from './op.js';
import { boxes, number, numbers, imageOf, side } from '../params.js';

/** UNet rows per forward pass: small enough for any machine, large enough to mix samples and conditions. */
export const BATCH = 16;

/** Picks as rows (row, column, row end, column end). */
function boxTensor(picks: { row: number; column: number }[], patch: number): Tensor {
  return fromInt64(
    [picks.length, 4],
    picks.flatMap(({ row, column }) => [row, column, row + patch, column + patch]),
  );
}

/**
 * Picks in reduced precision. Near ties fall another way when scores are rounded, and then every later pick of the greedy choice differs, so the
 * reference's places cannot be asked for: the scores are compared with the reference's, and the picks must be exactly what those scores give.
 */
async function judgePicks(
  context: OpContext,
  engine: Engine,
  picks: ScoredPatch[],
  scores: Tensor,
  patch: number,
): Promise<Record<'boxes' | 'scores', Comparison>> {
  const again = await engine.selectPatches(scores, patch, picks.length, false, context.call);
  const scoreTensor = (of: { score: number }[]): Tensor =>
    fromFloat32(
      [of.length],
      Float32Array.from(of, ({ score }) => score),
    );
  return {
    boxes: compareTensors(boxTensor(picks, patch), boxTensor(again, patch), { exact: true }),
    scores: compareTensors(scoreTensor(picks), scoreTensor(again), { atol: 1e-6, rtol: 1e-5 }),
  };
}

/** L[n, k, c, h, w] of each channel by itself: the squared differences before any mean, from the UNet's plain forward pass. */
async function channelLosses(
  context: OpContext,
  engine: Engine,
  conditions: Conditions,
  latent: Tensor,
  count: number,
): Promise<Tensor> {
  const [noises, timesteps] = [context.input('noises'), int64Numbers(context.input('t'))];
  const samples = timesteps.length;
  const one = toFloat32(latent);
  const repeated = new Float32Array(samples * one.length);
  for (let n = 0; n < samples; n++) repeated.set(one, n * one.length);
  const config = await context.schedule();
  const { noisy, velocity } = addNoise(config, fromFloat32(noises.shape, repeated), noises, timesteps);
  const target = toFloat32(config.prediction === 'v_prediction' ? velocity : noises);
  const { sample } = await engine.unetForward(
    conditions,
    {
      x: noisy,
      timesteps,
      conditionIndex: Array.from({ length: samples * count }, (_, row) => row % count),
      fanOut: count,
    },
    context.call,
  );
  const losses = toFloat32(sample).map(
    (value, i) => (value - (target[Math.floor(i / (one.length * count)) * one.length + (i % one.length)] ?? NaN)) ** 2,
  );
  return fromFloat32([samples, count, ...latent.shape.slice(1)], losses);
}

/** [n, k, c, h, w] -> [n, k, h, w] */
function channelMean(losses: Tensor): Tensor {
  const [channels, area] = [side(losses, 2), side(losses, 3) * side(losses, 4)];
  const flat = toFloat32(losses);
  const mean = new Float32Array(flat.length / channels);
  for (let i = 0; i < mean.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += flat[(Math.floor(i / area) * channels + c) * area + (i % area)] ?? NaN;
    mean[i] = sum / channels;
  }
  return fromFloat32([side(losses, 0), side(losses, 1), side(losses, 3), side(losses, 4)], mean);
}

/** [n, k, ...] -> [n, k] */
function imageMean(losses: Tensor): Tensor {
  const [rows, flat] = [side(losses, 0) * side(losses, 1), toFloat32(losses)];
  const size = flat.length / rows;
  return fromFloat32(
    [side(losses, 0), side(losses, 1)],
    Float32Array.from(
      { length: rows },
      (_, row) => flat.subarray(row * size, (row + 1) * size).reduce((a, b) => a + b, 0) / size,
    ),
  );
}

/** The maps of an image's outputs, F32 [M, h, w]. */
export function stackMaps(outputs: readonly TypicalityOutput[]): Tensor | undefined {
  const maps = outputs.flatMap(({ map }) => (map ? [map] : []));
  return maps.length > 0 ? stack(maps) : undefined;
}

/**
 * The case's image under `count` conditions, of which one is null, with the case's noise and timesteps: its outputs, and losses [N, K, h, w] (means over
 * channels).
 */
async function score(
  context: OpContext,
  conditions: Conditions,
  count: number,
  own: Pick<TypicalityOptions, 'patch' | 'perImage' | 'keepScores'>,
): Promise<{ results: TypicalityOutput[]; losses: Tensor | undefined }> {
  const { params, input, call } = context;
  const engine = await context.engine();
  const nullIndex = number(params, 'null_index');
  const every = [...Array(count).keys()];
  const labels = every.filter((index) => index !== nullIndex);
  const { outputs, losses } = await engine.scoreTypicality(
    conditions,
    {
      images: [imageOf(input('image_u8'))],
      conditions: [every],
      subjects: [labels],
      weights: [labels.map(() => every.map((index) => (index === nullIndex ? 1 : 0)))],
      keys: [0],
      noises: input('noises'),
      timesteps: input('t'),
    },
    {
      samples: side(input('t'), 0),
      seed: 0,
      tBegin: 0,
      tEnd: (await context.schedule()).trainTimesteps,
      sampler: 'reference',
      batch: BATCH,
      keepMaps: true,
      keepLosses: true,
      ...own,
    },
    call,
  );
  return { results: outputs[0] ?? [], losses: losses && { ...losses, shape: losses.shape.slice(1) } };
}

export const typicalityOp: Op = {
  reducible: true,
  compound: true,
  async run(context) {
    const { params, input, call, dtype } = context;
    const engine = await context.engine();
    const conditions = await engine.prepareConditions(input('cond'), call);
    const count = side(input('cond'), 0);
    const patch = number(params, 'patch');
    const latent = await engine.encodeImages([imageOf(input('image_u8'))], call);
    const { results, losses } = await score(context, conditions, count, {
      patch,
      perImage: number(params, 'top'),
      keepScores: true,
    });
    const outputs: Record<string, Tensor> = { latent };
    const judged: Record<string, Comparison> = {};
    const reference = context.reference('losses');
    if (losses) {
      outputs['loss_mean'] = imageMean(losses);
      if (reference.shape.length === 5) {
        outputs['losses'] = await channelLosses(context, engine, conditions, latent, count);
        judged['losses, mean over channels'] = context.compare(losses, channelMean(reference));
      } else {
        outputs['losses'] = losses;
      }
    }
    const maps = stackMaps(results);
    if (maps) outputs['T_map'] = maps;
    for (const [c, { scores, top }] of results.entries()) {
      if (!scores) continue;
      outputs[`scores_${c}`] = scores;
      if (dtype === 'fp32') {
        outputs[`top5_${c}`] = boxTensor(top, patch);
        outputs[`top5_score_${c}`] = fromFloat32(
          [top.length],
          Float32Array.from(top, ({ score }) => score),
        );
      } else {
        const { boxes: places, scores: values } = await judgePicks(context, engine, top, scores, patch);
        judged[`top5_${c}`] = places;
        judged[`top5_score_${c}`] = values;
      }
    }
    return { outputs, judged };
  },
};

/** Losses [N, 2 (label, null), c, h, w] -> upsampled maps, their patch scores and the greedy picks of both ends. */
export const selectOp: Op = {
  async run(context) {
    const { params, input, call } = context;
    const engine = await context.engine();
    const losses = input('losses');
    const [height = 0, width = 0] = numbers(params, 'hw');
    const [patch, top] = [number(params, 'patch'), number(params, 'top')];
    const maps = channelMean(losses);
    const up = await engine.patchScores(maps, height, width, 1, call);
    const [samples, cells] = [side(losses, 0), side(losses, 3) * side(losses, 4)];
    const flat = toFloat32(maps);
    const difference = new Float32Array(cells);
    for (let i = 0; i < cells; i++) {
      let sum = 0;
      for (let n = 0; n < samples; n++)
        sum += (flat[(2 * n + 1) * cells + i] ?? NaN) - (flat[2 * n * cells + i] ?? NaN);
      difference[i] = sum / samples;
    }
    const scores = await engine.patchScores(fromFloat32(losses.shape.slice(3), difference), height, width, patch, call);
    const best = await engine.selectPatches(scores, patch, top, false, call);
    const least = await engine.selectPatches(scores, patch, top, true, call);
    return {
      outputs: {
        up,
        scores,
        top5: boxTensor(best, patch),
        top5_score: fromFloat32(
          [best.length],
          Float32Array.from(best, ({ score }) => score),
        ),
        bottom5: boxTensor(least, patch),
      },
    };
  },
};

export const diftOp: Op = {
  reducible: true,
  async run(context) {
    const { params, input, call } = context;
    const engine = await context.engine();
    const conditions = await engine.prepareConditions(input('cond'), call);
    const result = await engine.dift(
      conditions,
      {
        images: [imageOf(input('image_u8'))],
        conditions: [0],
        boxes: [
          boxes(params, 'boxes').map(([rowBegin, columnBegin, rowEnd, columnEnd]) => ({
            rowBegin,
            columnBegin,
            rowEnd,
            columnEnd,
          })),
        ],
        noises: input('noises'),
        keepFeatures: true,
      },
      {
        timestep: number(params, 't'),
        upBlock: number(params, 'up_ft_index'),
        ensemble: number(params, 'ensemble'),
        seed: 0,
        batch: BATCH,
      },
      call,
    );
    return {
      outputs: {
        ...(result.features ? { feature: result.features } : {}),
        ...(result.patches[0] ? { patch_features: result.patches[0] } : {}),
      },
    };
  },
};

/** Latent, losses [N, K, h, w] (channel mean) and T_map [K - 1, h, w] of an image under K conditions, of which one is null. */
export async function typicalityUnder(context: OpContext, conditions: Conditions, count: number): Promise<OpResult> {
  const { results, losses } = await score(context, conditions, count, { patch: 0, perImage: 0 });
  const maps = stackMaps(results);
  return {
    outputs: {
      latent: await (await context.engine()).encodeImages([imageOf(context.input('image_u8'))], context.call),
      ...(losses && { losses }),
      ...(maps && { T_map: maps }),
    },
  };
}
