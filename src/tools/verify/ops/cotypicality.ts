// Co-typicality and the features of translated sequences, through the functions that `cotypicality` itself uses.
import {
  bestPlaces,
  concatenated,
  medianMap,
  sequenceFeatures,
  valuesAt,
} from '../../../stages/cotypicality/places.js';
import { fromFloat32, fromInt64 } from '../../../engine/tensor.js';
import type { Tensor } from '../../../engine/types.js';
import type { Op } from './op.js';
import { boxes, number, imageOf, side } from '../params.js';

/** UNet rows per forward pass. */
const BATCH = 16;

/** The entries of a tensor along its first axis. */
function slices(tensor: Tensor): Tensor[] {
  const shape = tensor.shape.slice(1);
  const bytes = tensor.data.length / Math.max(1, side(tensor, 0));
  return Array.from({ length: side(tensor, 0) }, (_, i) => ({
    dtype: tensor.dtype,
    shape,
    data: tensor.data.subarray(i * bytes, (i + 1) * bytes),
  }));
}

/** Score maps of a sequence's images, F32 [C, R, S] -> their median, the places of it, and each map there. */
export const cotypicalityOp: Op = {
  async run({ engine, input, params, call }) {
    const patch = number(params, 'patch');
    const maps = slices(input('maps'));
    const median = medianMap(maps);
    const places = await bestPlaces(await engine(), median, patch, number(params, 'top'), call);
    const scores = maps.map((map) => valuesAt(map, places));
    return {
      outputs: {
        median,
        boxes: fromInt64(
          [places.length, 4],
          places.flatMap(({ row, column }) => [row, column, row + patch, column + patch]),
        ),
        box_score: fromFloat32(
          [places.length],
          Float32Array.from(places, ({ score }) => score),
        ),
        box_per_map: fromFloat32(
          [places.length, maps.length],
          Float32Array.from(places.flatMap((_, place) => scores.map((of) => of[place] ?? NaN))),
        ),
      },
    };
  },
};

/** Images U8 [C, 3, H, W] with a prompt and noises each -> feature maps, and the vectors that are clustered. */
export const diftSequenceOp: Op = {
  reducible: true,
  async run({ engine, input, params, call }) {
    const running = await engine();
    const images = slices(input('images_u8')).map(imageOf);
    const conditions = await running.prepareConditions(input('conds'), call);
    const latents = await running.encodeImages(images, call);
    const { patches, features } = await sequenceFeatures(
      running,
      conditions,
      {
        latents,
        height: images[0]?.height ?? 0,
        width: images[0]?.width ?? 0,
        rows: images.map((_, c) => c),
        boxes: boxes(params, 'boxes').map(([rowBegin, columnBegin, rowEnd, columnEnd]) => ({
          rowBegin,
          columnBegin,
          rowEnd,
          columnEnd,
        })),
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
    return { outputs: { sequences: concatenated(patches), ...(features ? { features } : {}) } };
  },
};
