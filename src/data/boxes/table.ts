// Annotations by image. Files name images in different ways; lookups use the image's path in the dataset.
import { DiffmineError } from '../../util/errors.js';

/** How a file names images. `path`: by their path in the dataset. `name`: possibly with fewer or more folders, as in NIH and COCO files. */
export type Naming = 'path' | 'name';

/** Names are compared after NFC: macOS writes file names as NFD. */
const normal = (name: string): string => name.normalize('NFC');

/** 'a/b/1.png' -> 'a/b/1.png', 'b/1.png', '1.png'; an absolute path without its root */
function* suffixes(name: string): Generator<string> {
  for (let rest = name; ;) {
    if (rest !== '') yield rest;
    const slash = rest.indexOf('/');
    if (slash < 0) return;
    rest = rest.slice(slash + 1);
  }
}

const parts = (name: string): number => name.split('/').length;

/** Annotations by the file's own image names; `get` looks up an image of a dataset. */
export class ImageTable<T> extends Map<string, T[]> {
  /** the file's names that end in a path, for names with more folders than the dataset has */
  private endings: Map<string, string[]> | undefined;
  /** what comes before a path of the dataset in an absolute name */
  private root = '/';

  /** @param notes notes about the file for the user */
  constructor(
    private readonly naming: Naming,
    readonly notes: string[] = [],
  ) {
    super();
  }

  add(image: string, item: T): void {
    const key = normal(image);
    const items = super.get(key);
    if (items) items.push(item);
    else this.set(key, [item]);
  }

  /** @param image path in the dataset, with forward slashes; for files that name images by name, the longest matching end of the path counts */
  override get(image: string): T[] | undefined {
    const [key, other] = this.keysOf(image);
    return key === undefined || other !== undefined ? undefined : super.get(key);
  }

  /**
   * The annotations of each of a dataset's images; images without any are left out. The longest common end of the two paths decides.
   *
   * @param images one entry per image and label: entries of the same image follow each other
   * @param file named in errors
   * @param root of the dataset: names may be absolute
   * @throws DATASET_INVALID for a name that matches several images, and for an image that matches several names
   */
  assign(images: Iterable<string>, file: string, root = ''): Map<string, T[]> {
    this.root = `${normal(root)}/`;
    const claims = new Map<string, { images: string[]; common: number }>();
    for (const image of images) {
      const keys = this.keysOf(image);
      const [key] = keys;
      if (key === undefined) continue;
      if (keys.length > 1) throw ambiguous(`${file} has several names that match the image ${image}: ${few(keys)}.`);
      const common = key === normal(image) ? Infinity : Math.min(parts(key), parts(image));
      const claim = claims.get(key);
      if (!claim || common > claim.common) claims.set(key, { images: [image], common });
      else if (common === claim.common && claim.images.at(-1) !== image) claim.images.push(image);
    }
    const found = new Map<string, T[]>();
    const shared = [...claims].filter(([, claim]) => claim.images.length > 1);
    for (const [name, claim] of shared.slice(0, 1)) {
      const more = shared.length > 1 ? ` The same holds for ${shared.length - 1} more of its names.` : '';
      throw ambiguous(`${file}: ${JSON.stringify(name)} matches several images: ${few(claim.images)}.${more}`);
    }
    for (const [key, claim] of claims) for (const image of claim.images) found.set(image, super.get(key) as T[]);
    return found;
  }

  /** The file's names of an image, best first: its path, names that end in its path, the longest end of its path. */
  private keysOf(image: string): string[] {
    const path = normal(image);
    if (super.has(path)) return [path];
    if (super.has(this.root + path)) return [this.root + path];
    if (this.naming === 'path') return [];
    const longer = this.byEnding().get(path);
    if (longer) return longer;
    for (const name of suffixes(path)) if (super.has(name)) return [name];
    return [];
  }

  private byEnding(): Map<string, string[]> {
    if (this.endings) return this.endings;
    this.endings = new Map();
    for (const key of this.keys()) {
      for (const name of suffixes(key)) {
        if (name === key) continue;
        const keys = this.endings.get(name);
        if (keys) keys.push(key);
        else this.endings.set(name, [key]);
      }
    }
    return this.endings;
  }
}

export function ambiguous(
  message: string,
  hint = 'Include as much of the path in each name as needed to make it unique, as in the dataset.',
): DiffmineError {
  return new DiffmineError('DATASET_INVALID', message, hint);
}

export const few = (names: readonly string[], most = 3): string =>
  names.slice(0, most).join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');
