// Heat maps and their metrics.
import { boxMask } from '../../../data/boxes/index.js';
import { fromFloat32, tensor, toFloat32 } from '../../../engine/tensor.js';
import type { Tensor } from '../../../engine/types.js';
import { PAPER_THRESHOLDS, paperCurve } from '../../../metrics/paper.js';
import { PrecisionCurve } from '../../../metrics/precision.js';
import type { Op } from './op.js';
import { boxes, number, numbers, side } from '../params.js';

const scalars = (values: readonly number[], like: Tensor): Tensor => {
  const bytes =
    like.dtype === 'I64'
      ? BigInt64Array.from(values, BigInt)
      : like.dtype === 'F64'
        ? Float64Array.from(values)
        : Float32Array.from(values);
  return tensor(like.dtype, like.shape, new Uint8Array(bytes.buffer));
};

/** Both forms of AUC-PR of a map against boxes, with the curve's parts; the mask is the one that localize counts with. */
export const aucprOp: Op = {
  async run({ input, params, outputs, reference }) {
    const scores = toFloat32(input('scores'));
    const [height, width] = [side(input('scores'), -2), side(input('scores'), -1)];
    const divide = number(params, 'divide', 1);
    const marked = boxes(params, 'boxes_xywh').map(([x, y, w, h]) => ({
      x: x / divide,
      y: y / divide,
      width: w / divide,
      height: h / divide,
    }));
    const truth = boxMask(marked, width, height);
    const curve = new PrecisionCurve([{ scores, truth }]);
    const { hits, misses, precision, recall, positives, area } = paperCurve({ scores, truth });
    const found: Record<string, readonly number[]> = {
      average_precision: [curve.averagePrecision() ?? NaN],
      auc_paper: [area ?? NaN],
      tp: hits,
      fp: misses,
      precision,
      recall,
      thresholds: PAPER_THRESHOLDS,
      positives: [positives],
    };
    return {
      outputs: Object.fromEntries(
        outputs.flatMap((name) => {
          const like = reference(name);
          if (name === 'mask')
            return [
              [
                name,
                like.dtype === 'F32'
                  ? fromFloat32(like.shape, Float32Array.from(truth))
                  : tensor(like.dtype, like.shape, truth),
              ],
            ];
          const values = found[name];
          return values === undefined ? [] : [[name, scalars(values, like)]];
        }),
      ),
    };
  },
};

/** Maps [.., h, w] upsampled where the case says so, and blurred, by the engine. */
export const blurOp: Op = {
  async run({ input, params, outputs, engine, call }) {
    const map = input('map');
    const [rows, columns] = [side(map, -2), side(map, -1)];
    const channels = map.shape.slice(0, -2).reduce((product, one) => product * one, 1);
    const [height = rows, width = columns] =
      (params['upsample_to'] ?? null) === null ? [] : numbers(params, 'upsample_to');
    const heat = await (
      await engine()
    ).heatMaps(
      fromFloat32([channels, rows, columns], toFloat32(map)),
      { height, width, kernel: number(params, 'kernel_size'), sigma: number(params, 'sigma') },
      call,
    );
    const values = toFloat32(heat);
    const lead = map.shape.slice(0, -2);
    const stride = number(params, 'out_stride', 1);
    const part = (keepRow: (y: number) => boolean, keepColumn: (x: number) => boolean, shape: number[]): Tensor =>
      fromFloat32(
        [...lead, ...shape],
        values.filter((_, i) => keepRow(Math.floor(i / width) % height) && keepColumn(i % width)),
      );
    const all = (): boolean => true;
    const found: Record<string, () => Tensor> = {
      blurred: () => fromFloat32([...lead, height, width], values),
      strided: () =>
        part(
          (y) => y % stride === 0,
          (x) => x % stride === 0,
          [Math.ceil(height / stride), Math.ceil(width / stride)],
        ),
      first_row: () => part((y) => y === 0, all, [width]),
      last_row: () => part((y) => y === height - 1, all, [width]),
      first_col: () => part(all, (x) => x === 0, [height]),
      last_col: () => part(all, (x) => x === width - 1, [height]),
      mean: () => fromFloat32(lead, Float32Array.of(values.reduce((sum, value) => sum + value, 0) / values.length)),
    };
    return {
      outputs: Object.fromEntries(outputs.flatMap((name) => (found[name] ? [[name, found[name]()]] : []))),
    };
  },
};
