// Masks: a folder of PNGs, non-zero inside the object. Either it mirrors the images (MASKS/king/1.png for king/1.jpg, or
// MASKS/king/1.jpg.png), or each image has a folder with one mask per label (MASKS/king/1/king.png, MASKS/king/1.jpg/king.png).
import path from 'node:path';
import sharp from 'sharp';
import { DiffmineError } from '../../util/errors.js';
import { imageInput } from '../open-image.js';
import type { Size } from '../read-image.js';
import type { MaskPixels } from './frame.js';
import type { Drawn } from './outline.js';
import type { Marked } from './rows.js';
import { ambiguous, few, ImageTable } from './table.js';
import { walk } from './walk.js';

const withoutExtension = (name: string): string => name.slice(0, name.length - path.posix.extname(name).length);

/** How a mask's path names its image, from the most to the least specific: with the extension, as a mirror of the image's path, or by a folder with the image's name. */
type Claim = 3 | 2 | 1;

/** Masks by the images that they may belong to. The path of a mask does not show which of the two layouts it belongs to; the image that is looked up does. */
class MaskTable extends ImageTable<Marked> {
  private readonly ofFolder = new Map<string, Marked[]>();

  constructor(notes: string[]) {
    super('path', notes);
  }

  /** @param name of the mask's file in its folder, without extension */
  addMask(name: string, mask: string): void {
    this.add(name, { mask });
    const folder = path.posix.dirname(name).normalize('NFC');
    if (folder === '.') return;
    const named = { label: path.posix.basename(name), mask };
    const others = this.ofFolder.get(folder);
    if (others) others.push(named);
    else this.ofFolder.set(folder, [named]);
  }

  override get(image: string): Marked[] | undefined {
    const found = this.claimed(image).map(([mark]) => mark);
    return found.length > 0 ? found : undefined;
  }

  private claimed(image: string): [Marked, Claim][] {
    const bare = withoutExtension(image);
    const claim = (marks: readonly Marked[] | undefined, by: Claim): [Marked, Claim][] =>
      (marks ?? []).map((mark) => [mark, by]);
    const folder = (name: string): Marked[] | undefined => this.ofFolder.get(name.normalize('NFC'));
    const exact = bare === image ? [] : [...claim(super.get(image), 3), ...claim(folder(image), 3)];
    return [...claim(super.get(bare), 2), ...claim(folder(bare), 1), ...exact];
  }

  /** @throws DATASET_INVALID for a mask that matches several images: 1.png for 1.jpg and 1.webp */
  override assign(images: Iterable<string>, file: string): Map<string, Marked[]> {
    const claims = new Map<string, { by: Claim; of: [image: string, mark: Marked][] }>();
    for (const image of images) {
      for (const [mark, by] of this.claimed(image)) {
        const mask = mark.mask as string;
        const best = claims.get(mask);
        if (!best || by > best.by) claims.set(mask, { by, of: [[image, mark]] });
        else if (by === best.by && best.of.at(-1)?.[0] !== image) best.of.push([image, mark]);
      }
    }
    const found = new Map<string, Marked[]>();
    for (const [mask, { of }] of claims) {
      if (of.length > 1) {
        throw ambiguous(
          `${file}: the mask '${mask}' matches several images: ${few(of.map(([image]) => image))}.`,
          'Add the extension of its image to its name, such as 1.jpg.png, or put it into a folder 1.jpg.',
        );
      }
      const [[image, mark]] = of as [[string, Marked]];
      found.set(image, [...(found.get(image) ?? []), mark]);
    }
    return found;
  }
}

/** @throws DATASET_INVALID if the folder cannot be read or has no PNG */
export async function readMasks(folder: string): Promise<ImageTable<Marked>> {
  const { files, lost } = await walk(folder).catch((cause: unknown) => {
    throw new DiffmineError('DATASET_INVALID', `The masks '${folder}' cannot be read.`, undefined, { cause });
  });
  const reasons = lost.map(({ path: name, reason }) => `${name} (${reason})`);
  const table = new MaskTable(
    lost.length > 0 ? [`Of the masks in ${folder}, ${lost.length} cannot be read: ${few(reasons)}.`] : [],
  );
  const masks = files.filter((name) => /\.png$/i.test(name) && !path.posix.basename(name).startsWith('.'));
  for (const name of masks) table.addMask(withoutExtension(name), path.resolve(folder, name));
  if (masks.length === 0) {
    throw new DiffmineError(
      'DATASET_INVALID',
      `The folder '${folder}' has no masks${lost.length > 0 ? ` that can be read: ${few(reasons)}` : ''}.`,
      'Masks are PNGs, non-zero inside the object: MASKS/king/1.png for the image king/1.jpg, or MASKS/king/1/LABEL.png.',
    );
  }
  return table;
}

const unreadable = (file: string, cause: unknown): DiffmineError =>
  new DiffmineError(
    'DATASET_INVALID',
    `The mask '${file}' cannot be read: ${(cause as Error).message.split('\n')[0]}.`,
    undefined,
    { cause },
  );

/** A mask as messages name it. */
export const maskName = (mask: string | Drawn): string => (typeof mask === 'string' ? `'${mask}'` : `of ${mask.name}`);

/** The size of a mask, of a file from its header. @throws DATASET_INVALID */
export async function measureMask(file: string | Drawn): Promise<Size> {
  if (typeof file !== 'string') return { width: file.width, height: file.height };
  try {
    const { width, height } = await sharp(await imageInput(file)).metadata();
    return { width, height };
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/**
 * Pixels of a mask: 1 inside, of a file where any channel but alpha is non-zero.
 *
 * @throws DATASET_INVALID if it cannot be decoded
 */
export async function readMask(file: string | Drawn): Promise<MaskPixels> {
  if (typeof file !== 'string') return { width: file.width, height: file.height, inside: file.draw() };
  try {
    // keeps 16 bits: converted to 8, a mask of zeros and ones would be all zeros
    const input = await imageInput(file);
    const wide = (await sharp(input).metadata()).depth === 'ushort';
    const image = sharp(input, { failOn: 'error' })
      .toColourspace(wide ? 'rgb16' : 'srgb')
      .removeAlpha();
    const { data, info } = await image.raw({ depth: wide ? 'ushort' : 'uchar' }).toBuffer({ resolveWithObject: true });
    const { width, height } = info;
    const perPixel = data.length / (width * height);
    const inside = new Uint8Array(width * height);
    for (let i = 0; i < data.length; i++) if (data[i] !== 0) inside[Math.floor(i / perPixel)] = 1;
    return { width, height, inside };
  } catch (cause) {
    throw unreadable(file, cause);
  }
}
