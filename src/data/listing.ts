// The images that a reader has found so far.
import type { Ignored, IgnoreReason } from './ignored.js';
import { ImageListBuilder, type DatasetImage } from './images.js';

export class Listing {
  readonly images = new ImageListBuilder();
  readonly ignored: Ignored = {};
  readonly warnings: string[] = [];
  /** keys of the containers' listings (bytes/listings.ts) */
  readonly listings: string[] = [];

  add(image: DatasetImage): void {
    this.images.add(image);
  }

  get count(): number {
    return this.images.length;
  }

  ignore(reason: IgnoreReason, count = 1): void {
    if (count > 0) this.ignored[reason] = (this.ignored[reason] ?? 0) + count;
  }
}
