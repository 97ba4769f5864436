// Typed access to a case's params, which come from a file and may have any type.
import { DiffmineError } from '../../util/errors.js';
import type { Image, Tensor } from '../../engine/types.js';

type Params = Record<string, unknown>;

function wrong(name: string, expected: string): DiffmineError {
  return new DiffmineError('CHECK_FAILED', `The case's params lack "${name}", ${expected}.`);
}

export function number(params: Params, name: string, fallback?: number): number {
  const value = params[name] ?? fallback;
  if (typeof value !== 'number') throw wrong(name, 'a number');
  return value;
}

export function text(params: Params, name: string, fallback?: string): string {
  const value = params[name] ?? fallback;
  if (typeof value !== 'string') throw wrong(name, 'a string');
  return value;
}

export function texts(params: Params, name: string): string[] {
  const value = params[name];
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'string')) throw wrong(name, 'a list of strings');
  return value;
}

export function numbers(params: Params, name: string): number[] {
  const value = params[name];
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'number')) throw wrong(name, 'a list of numbers');
  return value;
}

/** Rows of four numbers: (row, column, row end, column end). */
export function boxes(params: Params, name: string): [number, number, number, number][] {
  const value = params[name];
  if (!Array.isArray(value)) throw wrong(name, 'a list of boxes');
  return value.map((_, index) => {
    const [r0, c0, r1, c1] = numbers(value as unknown as Params, String(index));
    if (r0 === undefined || c0 === undefined || r1 === undefined || c1 === undefined)
      throw wrong(name, 'a list of boxes');
    return [r0, c0, r1, c1];
  });
}

/** The side `axis` of a tensor; a manifest may have the wrong number of axes. */
export function side(tensor: Tensor, axis: number): number {
  const found = tensor.shape.at(axis);
  if (found === undefined)
    throw new DiffmineError('CHECK_FAILED', `A tensor of shape [${tensor.shape.join(', ')}] has no axis ${axis}.`);
  return found;
}

/** U8 [3, H, W] -> interleaved RGB. */
export function imageOf(planar: Tensor): Image {
  const [height, width] = [side(planar, 1), side(planar, 2)];
  const area = height * width;
  const pixels = new Uint8Array(3 * area);
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) pixels[3 * i + c] = planar.data[c * area + i] ?? 0;
  return { pixels, width, height };
}
