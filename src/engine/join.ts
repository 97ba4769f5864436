// Joins tensors of the same dtype.
import { DiffmineError } from '../util/errors.js';
import type { Tensor } from './types.js';

/** Tensors of the same shape along a new first axis. */
export function stack(tensors: readonly Tensor[]): Tensor {
  return concatenate(tensors.map((one) => ({ ...one, shape: [1, ...one.shape] })));
}

/** Tensors whose other sides are the same along their first axis. */
export function concatenate(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors;
  if (!first) throw new DiffmineError('INTERNAL', 'There are no tensors to join.');
  const data = new Uint8Array(tensors.reduce((sum, one) => sum + one.data.byteLength, 0));
  let at = 0;
  for (const one of tensors) {
    data.set(one.data, at);
    at += one.data.byteLength;
  }
  const rows = tensors.reduce((sum, { shape: [own = 0] }) => sum + own, 0);
  return { dtype: first.dtype, shape: [rows, ...first.shape.slice(1)], data };
}
