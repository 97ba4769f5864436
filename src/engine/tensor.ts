// Creating and reading tensors in JavaScript. `data` is a Uint8Array whatever the dtype: bytes cross realms (worker,
// vm, test runner) and endianness is fixed, while typed arrays of another realm fail instanceof.
import { DiffmineError } from '../util/errors.js';
import type { DType, Tensor } from './types.js';

/** Bytes per element. */
export const DTYPE_BYTES: Record<DType, number> = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 };

/** Number of elements of a shape. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}

/**
 * A tensor over `data`, which is not copied.
 *
 * @throws INVALID_ARGUMENT if the bytes do not fit the shape
 */
export function tensor(dtype: DType, shape: readonly number[], data: Uint8Array): Tensor {
  const expected = elements(shape) * DTYPE_BYTES[dtype];
  if (data.byteLength !== expected) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `A tensor of ${dtype} [${shape.join(', ')}] has ${expected} bytes, got ${data.byteLength}.`,
    );
  }
  return { dtype, shape: [...shape], data };
}

/** F32 of numbers; a Float32Array is not copied. */
export function fromFloat32(shape: readonly number[], values: Float32Array | readonly number[]): Tensor {
  const array = ArrayBuffer.isView(values) ? values : Float32Array.from(values);
  return tensor('F32', shape, new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
}

/** I64 of safe integers. */
export function fromInt64(shape: readonly number[], values: readonly number[]): Tensor {
  const array = BigInt64Array.from(values, BigInt);
  return tensor('I64', shape, new Uint8Array(array.buffer));
}

/** The bytes, aligned for a typed array of `size`-byte elements; a copy only where they are not. */
function aligned(data: Uint8Array, size: number): { buffer: ArrayBufferLike; byteOffset: number; length: number } {
  const { buffer, byteOffset } = data.byteOffset % size === 0 ? data : new Uint8Array(data);
  return { buffer, byteOffset, length: data.byteLength / size };
}

/**
 * The values of an F32 tensor, over the same memory where its alignment allows.
 *
 * @throws INVALID_ARGUMENT for another dtype (see toFloat32)
 */
export function float32(t: Tensor): Float32Array {
  if (t.dtype !== 'F32') throw new DiffmineError('INVALID_ARGUMENT', `Expected an F32 tensor, got ${t.dtype}.`);
  const { buffer, byteOffset, length } = aligned(t.data, 4);
  return new Float32Array(buffer, byteOffset, length);
}

/**
 * The values of an integer tensor.
 *
 * @throws INVALID_ARGUMENT for another dtype, or a value that a number cannot represent exactly
 */
export function int64Numbers(t: Tensor): number[] {
  if (t.dtype === 'U8' || t.dtype === 'BOOL') return [...t.data];
  if (t.dtype === 'I32') {
    const { buffer, byteOffset, length } = aligned(t.data, 4);
    return [...new Int32Array(buffer, byteOffset, length)];
  }
  if (t.dtype !== 'I64') throw new DiffmineError('INVALID_ARGUMENT', `Expected an integer tensor, got ${t.dtype}.`);
  const { buffer, byteOffset, length } = aligned(t.data, 8);
  return Array.from(new BigInt64Array(buffer, byteOffset, length), (value) => {
    const number = Number(value);
    if (!Number.isSafeInteger(number))
      throw new DiffmineError('INVALID_ARGUMENT', `The integer ${value} is too large for a JavaScript number.`);
    return number;
  });
}

/** The values of any tensor as fp32 (rounded where the dtype is wider). F32 is not copied where its alignment allows. */
export function toFloat32(t: Tensor): Float32Array {
  switch (t.dtype) {
    case 'F32':
      return float32(t);
    case 'F64': {
      const { buffer, byteOffset, length } = aligned(t.data, 8);
      return Float32Array.from(new Float64Array(buffer, byteOffset, length));
    }
    case 'F16': {
      const { buffer, byteOffset, length } = aligned(t.data, 2);
      return Float32Array.from(new Uint16Array(buffer, byteOffset, length), halfToNumber);
    }
    case 'BF16': {
      const { buffer, byteOffset, length } = aligned(t.data, 2);
      const bits = Uint32Array.from(new Uint16Array(buffer, byteOffset, length), (half) => half << 16);
      return new Float32Array(bits.buffer);
    }
    case 'I64':
    case 'I32':
    case 'U8':
    case 'BOOL':
      return Float32Array.from(int64Numbers(t));
  }
}

/** The same values as F16, rounded to nearest, ties to even; too large ones become infinite. */
export function toFloat16(t: Tensor): Tensor {
  const values = toFloat32(t);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = Uint16Array.from(bits, halfFromBits);
  return tensor('F16', t.shape, new Uint8Array(halves.buffer));
}

function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** IEEE 754 binary16 of binary32 bits. */
function halfFromBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 2^16 and above
  if (magnitude >= 0x38800000) {
    // Normal: the exponent moves from bias 127 to 15; a carry of the rounding runs into it, up to infinity.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude < 0x33000000) return sign; // below half of 2^-24
  // Subnormal: the fraction with its leading one, counted in 2^-24.
  const shift = 126 - (magnitude >>> 23);
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const half = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (half + (rest > middle || (rest === middle && half & 1) ? 1 : 0));
}
