// Masks: a folder of PNGs beside the data set, non-zero where something is. Either it mirrors the pictures (MASKS/king/1.png of king/1.jpg), or each
// picture has a folder with a mask a label (MASKS/king/1/king.png, MASKS/king/1.jpg/king.png).
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { DiffmineError } from '../../errors';
import type { Size } from '../pictures';
import type { Marked } from './marks';
import { PictureTable } from './table';

const withoutExtension = (name: string): string => name.slice(0, name.length - path.posix.extname(name).length);

/** Masks by the picture they may belong to: a file's place alone does not tell which of the two layouts it is of, the picture asked for does. */
class MaskTable extends PictureTable<Marked> {
  private readonly ofFolder = new Map<string, Marked[]>();

  constructor() {
    super('path');
  }

  /** @param name of the mask's file in its folder, less its extension */
  addMask(name: string, mask: string): void {
    this.add(name, { mask });
    const folder = path.posix.dirname(name);
    if (folder === '.') return;
    const named = { label: path.posix.basename(name), mask };
    const others = this.ofFolder.get(folder);
    if (others) others.push(named);
    else this.ofFolder.set(folder, [named]);
  }

  override get(image: string): Marked[] | undefined {
    const bare = withoutExtension(image);
    const found = [...(super.get(bare) ?? []), ...(this.ofFolder.get(bare) ?? []), ...(bare === image ? [] : (this.ofFolder.get(image) ?? []))];
    return found.length > 0 ? found : undefined;
  }
}

/** @throws DATASET_INVALID where the folder cannot be read or has no PNG */
export async function readMasks(folder: string): Promise<PictureTable<Marked>> {
  const table = new MaskTable();
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw new DiffmineError('DATASET_INVALID', `The masks '${folder}' cannot be read.`, undefined, { cause });
  });
  const files = entries.filter((entry) => !entry.isDirectory() && /\.png$/i.test(entry.name) && !entry.name.startsWith('.')).map((entry) => path.join(entry.parentPath, entry.name));
  for (const file of files.sort()) table.addMask(withoutExtension(path.relative(folder, file).split(path.sep).join('/')), path.resolve(file));
  if (files.length === 0) {
    throw new DiffmineError('DATASET_INVALID', `The folder '${folder}' has no masks.`, 'Masks are PNGs, non-zero where something is: MASKS/king/1.png of the picture king/1.jpg, or MASKS/king/1/LABEL.png.');
  }
  return table;
}

/**
 * Pixels of a mask file: 1 where any channel but alpha is non-zero, [height * width].
 *
 * @throws DATASET_INVALID where it cannot be decoded
 */
export async function readMask(file: string): Promise<Size & { inside: Uint8Array }> {
  try {
    // 16 bits stay 16 bits: brought to 8, a mask of zeros and ones would be all zeros
    const wide = (await sharp(file).metadata()).depth === 'ushort';
    const image = sharp(file, { failOn: 'error' }).toColourspace(wide ? 'rgb16' : 'srgb').removeAlpha();
    const { data, info } = await image.raw({ depth: wide ? 'ushort' : 'uchar' }).toBuffer({ resolveWithObject: true });
    const { width, height } = info;
    const perPixel = data.length / (width * height);
    const inside = new Uint8Array(width * height);
    for (let i = 0; i < data.length; i++) if (data[i] !== 0) inside[Math.floor(i / perPixel)] = 1;
    return { width, height, inside };
  } catch (cause) {
    throw new DiffmineError('DATASET_INVALID', `The mask '${file}' cannot be read: ${(cause as Error).message.split('\n')[0]}.`, undefined, { cause });
  }
}
