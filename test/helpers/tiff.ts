// Uncompressed TIFFs of any kind of sample, which sharp does not write.

const KINDS = {
  u8: [8, 1, (to: Buffer, value: number, at: number) => to.writeUInt8(value, at)],
  i8: [8, 2, (to: Buffer, value: number, at: number) => to.writeInt8(value, at)],
  u16: [16, 1, (to: Buffer, value: number, at: number) => to.writeUInt16LE(value, at)],
  i16: [16, 2, (to: Buffer, value: number, at: number) => to.writeInt16LE(value, at)],
  u32: [32, 1, (to: Buffer, value: number, at: number) => to.writeUInt32LE(value, at)],
  i32: [32, 2, (to: Buffer, value: number, at: number) => to.writeInt32LE(value, at)],
  /** the value is its bits: 0x3c00 is 1 */
  f16: [16, 3, (to: Buffer, value: number, at: number) => to.writeUInt16LE(value, at)],
  f32: [32, 3, (to: Buffer, value: number, at: number) => to.writeFloatLE(value, at)],
  f64: [64, 3, (to: Buffer, value: number, at: number) => to.writeDoubleLE(value, at)],
} as const;

export type SampleKind = keyof typeof KINDS;

/** One strip, interleaved; three channels or four are RGB (and alpha), others gray with more. */
export function tiff(
  kind: SampleKind,
  width: number,
  height: number,
  channels: number,
  valueAt: (x: number, y: number, channel: number) => number,
): Buffer {
  const [bits, format, write] = KINDS[kind];
  const pixels = Buffer.alloc((bits / 8) * width * height * channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++) write(pixels, valueAt(x, y, c), (bits / 8) * ((y * width + x) * channels + c));
  }
  const tags = 11;
  const arrays: Buffer[] = [];
  let end = 8 + 2 + 12 * tags + 4;
  /** A SHORT per channel: in the entry where two fit, else an array's place. */
  const perChannel = (value: number): number => {
    if (channels <= 2) return channels === 1 ? value : value | (value << 16);
    const place = end;
    arrays.push(Buffer.from(Uint16Array.from({ length: channels }, () => value).buffer));
    end += 2 * channels;
    return place;
  };
  const [bitsPerSample, sampleFormat] = [perChannel(bits), perChannel(format)];
  const entries = [
    [256, 4, 1, width],
    [257, 4, 1, height],
    [258, 3, channels, bitsPerSample],
    [259, 3, 1, 1],
    [262, 3, 1, channels === 3 || channels === 4 ? 2 : 1],
    [273, 4, 1, end],
    [277, 3, 1, channels],
    [278, 4, 1, height],
    [279, 4, 1, pixels.length],
    [284, 3, 1, 1],
    [339, 3, channels, sampleFormat],
  ] as const;
  const header = Buffer.alloc(8 + 2 + 12 * tags + 4);
  header.write('II*\0', 'latin1');
  header.writeUInt32LE(8, 4);
  header.writeUInt16LE(tags, 8);
  entries.forEach(([tag, type, length, value], i) => {
    const at = 10 + 12 * i;
    header.writeUInt16LE(tag, at);
    header.writeUInt16LE(type, at + 2);
    header.writeUInt32LE(length, at + 4);
    header.writeUInt32LE(value >>> 0, at + 8);
  });
  return Buffer.concat([header, ...arrays, pixels]);
}
