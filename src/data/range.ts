// Images that decoders turn black or white: TIFFs of floats, signed or 32-bit integers, which are clipped to 0 ... 255, and measurements of 10 or 12 bits in
// files of 16, of which only the upper 8 are kept. Here a range is chosen per image and mapped linearly to 0 ... 255, or the image is refused with the reason:
//
//     all values in 0 ... 1      0 ... 1
//     all values in 0 ... 255    0 ... 255
//     otherwise                  smallest ... largest value of the image
//
// Refused: NaN or infinite values, a constant image, and an extreme value far from all others (a no-data marker such as -9999 or the type's minimum),
// because including it in the range would leave no contrast.
import type { Metadata, Sharp } from 'sharp';

/** Whether values are other than unsigned 8 bits. */
export function isWide({ depth }: Partial<Pick<Metadata, 'depth'>>): boolean {
  return depth !== undefined && depth !== 'uchar';
}

/** Unsigned 16-bit images with larger values use their range: below it nothing would be brighter than 15 of 255. */
const TWELVE_BITS = 4095;

/** Larger ones are no measurement: the smallest float stands for no data in maps. */
const INFINITE = 1e30;
/** Part of the range that may lie between an extreme value and all others. */
const GAP = 0.5;

/**
 * The range that values are mapped from.
 *
 * @throws Error with the reason as the end of a sentence
 */
export function rangeOf(values: Float32Array): [low: number, high: number] {
  let [low, high, second, penultimate] = [Infinity, -Infinity, Infinity, -Infinity];
  let missing = 0;
  for (let i = 0; i < values.length; ++i) {
    const value = values[i] as number;
    if (!(Math.abs(value) < INFINITE)) {
      ++missing;
      continue;
    }
    if (value < low) [second, low] = [low, value];
    else if (value > low && value < second) second = value;
    if (value > high) [penultimate, high] = [high, value];
    else if (value < high && value > penultimate) penultimate = value;
  }
  if (missing > 0) throw new Error(`${missing} of its ${values.length} values are NaN or infinite`);
  if (low >= 0 && high <= 1) return [0, 1];
  if (low >= 0 && high <= 255) return [0, 255];
  if (low === high) throw new Error(`all its values are ${low}`);
  const far = (gap: number): boolean => second < penultimate && gap > GAP * (high - low);
  const alone = far(second - low) ? low : far(high - penultimate) ? high : undefined;
  if (alone !== undefined) throw new Error(`its value ${alone} is far from all others, like a no-data marker`);
  return [low, high];
}

/**
 * Upright 8-bit RGB, [height x width x 3]; undefined for an image that decoders convert as they should: unsigned 16 bits that use their range.
 *
 * @throws Error with the reason as the end of a sentence
 */
export async function toEightBits(
  image: Sharp,
  { space, channels, hasAlpha, depth }: Metadata,
): Promise<Buffer | undefined> {
  const colors = channels - (hasAlpha ? 1 : 0);
  const unsigned = depth === 'ushort';
  if (colors !== 1 && colors !== 3) {
    if (unsigned) return undefined;
    throw new Error(`it has ${channels} channels of ${depth}, which are not gray or RGB`);
  }
  // libvips takes the range of 16-bit integers for theirs, and cuts off the fractions
  if (depth === 'float' && (space === 'grey16' || space === 'rgb16'))
    throw new Error('its values are floats of 16 bits');
  // 16 bits are read as unsigned: signed ones are moved there and back
  const moved = depth === 'short' && (space === 'grey16' || space === 'rgb16');
  const plain = moved ? image.clone().linear(1, 32768) : image.clone();
  const { data, info } = await plain
    .autoOrient()
    .toColourspace(space)
    .removeAlpha()
    .raw({ depth: 'float' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== colors) throw new Error(`it has ${channels} channels of ${depth}, which are not gray or RGB`);
  const values =
    data.byteOffset % 4 === 0
      ? new Float32Array(data.buffer, data.byteOffset, data.length / 4)
      : new Float32Array(new Uint8Array(data).buffer);
  if (moved) for (let i = 0; i < values.length; ++i) values[i] = (values[i] as number) - 32768;
  if (unsigned && values.some((value) => value > TWELVE_BITS)) return undefined;
  const [low, high] = rangeOf(values);
  const scale = 255 / (high - low);
  const pixels = Buffer.alloc((values.length / colors) * 3);
  for (let i = 0; i < values.length; ++i) {
    const value = Math.round(((values[i] as number) - low) * scale);
    if (colors === 3) pixels[i] = value;
    else pixels.fill(value, 3 * i, 3 * i + 3);
  }
  return pixels;
}
