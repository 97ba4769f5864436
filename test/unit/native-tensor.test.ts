// Tensors in JavaScript: conversions are exact where the formats allow, and rounded as IEEE 754 says where not.
import { DiffmineError } from '../../src/util/errors.js';
import {
  float32,
  fromFloat32,
  fromInt64,
  int64Numbers,
  tensor,
  toFloat16,
  toFloat32,
} from '../../src/engine/tensor.js';

/** All 65536 values of a two-byte format. */
const allHalves = (): Uint8Array => new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
const bitsOf = (data: Uint8Array): Uint16Array => new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);

describe('half precision', () => {
  it('gives every F16 back after a way through fp32', () => {
    const halves = tensor('F16', [65536], allHalves());
    const back = bitsOf(toFloat16(fromFloat32([65536], toFloat32(halves))).data);
    const wrong = [...back].filter((bits, i) => {
      const isNaN = (i & 0x7c00) === 0x7c00 && (i & 0x3ff) !== 0;
      return isNaN ? (bits & 0x7c00) !== 0x7c00 || (bits & 0x3ff) === 0 : bits !== i;
    });
    expect(wrong).toEqual([]);
  });

  it('decodes known F16 values', () => {
    const bits = Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0x7c00, 0x3555);
    const values = [...toFloat32(tensor('F16', [7], new Uint8Array(bits.buffer)))];
    expect(values).toEqual([1, -2, 65504, 2 ** -24, 2 ** -14, Infinity, Math.fround(0.333251953125)]);
  });

  it('rounds to the nearest F16, ties to even', () => {
    const ulp = 2 ** -10;
    const cases: [number, number][] = [
      [1 + ulp / 2, 1], // tie, down to even
      [1 + (3 * ulp) / 2, 1 + 2 * ulp], // tie, up to even
      [1 + ulp / 2 + 2 ** -20, 1 + ulp],
      [65519.996, 65504],
      [65520, Infinity], // tie between the largest and 2^16
      [-1e6, -Infinity],
      [2 ** -25, 0], // tie, down to even
      [2 ** -25 * 1.0001, 2 ** -24],
      [3 * 2 ** -25, 2 ** -23], // tie between 1 and 2 units, up to even
      [2 ** -14 - 2 ** -26, 2 ** -14], // the largest subnormals round into the normals
      [-0, -0],
    ];
    const rounded = toFloat32(
      toFloat16(
        fromFloat32(
          [cases.length],
          cases.map(([value]) => value),
        ),
      ),
    );
    expect([...rounded]).toEqual(cases.map(([, expected]) => expected));
  });

  it('decodes BF16 as the upper half of fp32', () => {
    const values = Float32Array.of(1, -2.5, 1.5 * 2 ** 127, 0);
    const upper = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
    const decoded = toFloat32(tensor('BF16', [4], new Uint8Array(upper.buffer)));
    expect([...decoded]).toEqual([1, -2.5, 1.5 * 2 ** 127, 0]);
  });
});

describe('views', () => {
  it('reads bytes at any offset', () => {
    const bytes = new Uint8Array(17);
    bytes.set(new Uint8Array(Float32Array.of(1.5, -3).buffer), 1);
    expect([...float32(tensor('F32', [2], bytes.subarray(1, 9)))]).toEqual([1.5, -3]);
    bytes.set(new Uint8Array(BigInt64Array.of(-7n, 2n ** 40n).buffer), 1);
    expect(int64Numbers(tensor('I64', [2], bytes.subarray(1, 17)))).toEqual([-7, 2 ** 40]);
  });

  it('does not copy a Float32Array', () => {
    const values = Float32Array.of(1, 2, 3);
    const t = fromFloat32([3], values);
    values[1] = 9;
    expect([...float32(t)]).toEqual([1, 9, 3]);
  });

  it('refuses what does not fit', () => {
    expect(() => tensor('F32', [2, 3], new Uint8Array(20))).toThrow('A tensor of F32 [2, 3] has 24 bytes, got 20.');
    expect(() => float32(fromInt64([1], [1]))).toThrow(DiffmineError);
    expect(() => int64Numbers(fromFloat32([1], [1]))).toThrow('an integer tensor');
    expect(() => int64Numbers(tensor('I64', [1], new Uint8Array(BigInt64Array.of(2n ** 60n).buffer)))).toThrow(
      'too large',
    );
  });
});
