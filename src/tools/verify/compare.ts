// Compares a tensor with its reference, within a tolerance.
import { int64Numbers, toFloat32 } from '../../engine/tensor.js';
import type { Dtype, Tensor } from '../../engine/types.js';
import type { Tolerance } from './golden.js';

/**
 * Relative L2 error |got - ref| / |ref| a tensor may have when the model ran in reduced precision. bf16 as measured over the golden cases: one pass of
 * a UNet is up to 0.024 off (8 bits of mantissa through some thirty layers).
 */
export const RELATIVE_L2: Record<Exclude<Dtype, 'fp32'>, number> = { fp16: 5e-3, bf16: 3e-2 };

/** Ten passes in a row, and differences of nearly equal losses, lose more: measured 0.062 in bf16. */
export const COMPOUND = 2.5;

export interface Comparison {
  passed: boolean;
  /** largest |got - ref|; for relative L2 that error itself; Infinity where shapes or finiteness differ */
  error: number;
  /** the same as a fraction of what is allowed: passed at <= 1 */
  fraction: number;
  /** what is wrong, when it is not just a number */
  message?: string;
}

/** Element by element, |got - ref| <= atol + rtol |ref|; whole numbers must be equal under any tolerance below 1. */
export function compareTensors(got: Tensor, reference: Tensor, tolerance: Tolerance): Comparison {
  const shapes = shapeMismatch(got, reference);
  if (shapes) return shapes;
  const [a, b] = [numbers(got), numbers(reference)];
  let error = 0;
  let fraction = 0;
  for (let i = 0; i < b.length; i++) {
    const ref = b[i] ?? NaN;
    const difference = Math.abs((a[i] ?? NaN) - ref);
    const allowed = tolerance.exact ? 0 : tolerance.atol + tolerance.rtol * Math.abs(ref);
    if (Number.isNaN(difference))
      return { passed: false, error: Infinity, fraction: Infinity, message: `element ${i} is not a number` };
    error = Math.max(error, difference);
    fraction = Math.max(fraction, difference === 0 ? 0 : difference / allowed);
  }
  return { passed: fraction <= 1, error, fraction };
}

/** Over the whole tensor: |got - ref|_2 <= bound |ref|_2. */
export function compareRelativeL2(got: Tensor, reference: Tensor, bound: number): Comparison {
  const shapes = shapeMismatch(got, reference);
  if (shapes) return shapes;
  const [a, b] = [numbers(got), numbers(reference)];
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    const ref = b[i] ?? NaN;
    difference += ((a[i] ?? NaN) - ref) ** 2;
    norm += ref ** 2;
  }
  const error = Math.sqrt(difference / Math.max(norm, Number.MIN_VALUE));
  if (!Number.isFinite(error))
    return { passed: false, error: Infinity, fraction: Infinity, message: 'the result is not finite' };
  return { passed: error <= bound, error, fraction: error / bound };
}

/** Averaged over the elements: mean |got - ref| <= bound. */
export function compareMeanAbsolute(got: Tensor, reference: Tensor, bound: number): Comparison {
  const shapes = shapeMismatch(got, reference);
  if (shapes) return shapes;
  const [a, b] = [numbers(got), numbers(reference)];
  let sum = 0;
  for (let i = 0; i < b.length; i++) sum += Math.abs((a[i] ?? NaN) - (b[i] ?? NaN));
  const error = sum / Math.max(1, b.length);
  return Number.isNaN(error)
    ? { passed: false, error: Infinity, fraction: Infinity }
    : { passed: error <= bound, error, fraction: error / bound };
}

function shapeMismatch(got: Tensor, reference: Tensor): Comparison | undefined {
  if (got.shape.length === reference.shape.length && got.shape.every((side, axis) => side === reference.shape[axis]))
    return undefined;
  return {
    passed: false,
    error: Infinity,
    fraction: Infinity,
    message: `shape [${got.shape.join(', ')}] where [${reference.shape.join(', ')}] was expected`,
  };
}

function numbers(tensor: Tensor): ArrayLike<number> {
  return tensor.dtype === 'I64' ? int64Numbers(tensor) : toFloat32(tensor);
}
