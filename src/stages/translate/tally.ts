// The sums over all images that quality.json gives the means of.
import { maskOf, type Marked } from '../../data/boxes/index.js';
import { sharesLabel } from '../../data/labels.js';
import type { Image } from '../../engine/types.js';
import type { TranslatedLine } from '../../runs/parallel.js';
import { correlation, type Judged } from './judge.js';
import type { PlaceQuality, Quality } from './options.js';

class Mean {
  private total = 0;
  count = 0;

  add(value: number, times = 1): void {
    this.total += value;
    this.count += times;
  }

  get value(): number | null {
    return this.count > 0 ? this.total / this.count : null;
  }
}

type PlaceName = 'own' | 'others' | 'rest';

class Place {
  readonly source = new Mean();
  readonly translated = new Mean();
  readonly change = new Mean();
  readonly preferred = new Mean();
  readonly preferredBefore = new Mean();

  quality(): PlaceQuality {
    return {
      pixels: this.source.count,
      source: this.source.value,
      translated: this.translated.value,
      change: this.change.value,
      preferred: this.preferred.value,
      preferredBefore: this.preferredBefore.value,
      boxes: this.preferred.count,
    };
  }
}

/** Sums of what was judged. */
export class Tally {
  private readonly structure = new Mean();
  private readonly control = new Mean();
  private readonly preferred = new Mean();
  private readonly translated = new Mean();
  private readonly source = new Mean();
  private readonly places = { own: new Place(), others: new Place(), rest: new Place() };

  async add(
    line: TranslatedLine,
    judged: Judged,
    known: Marked[] | undefined,
    before: Float32Array | undefined,
  ): Promise<void> {
    if (before?.length === judged.structure.length) this.control.add(correlation(before, judged.structure));
    const places = known && (await this.placesOf(line, known));
    for (const one of judged.targets) {
      this.structure.add(correlation(judged.structure, one.structure));
      this.preferred.add(Number(one.translated.mean > 0));
      this.translated.add(one.translated.mean);
      this.source.add(one.source.mean);
      if (places) this.addPlaces(places, one, judged.reconstruction);
    }
  }

  /** The pixels of each place, and of own and others box by box. */
  private async placesOf(line: TranslatedLine, marks: Marked[]): Promise<{ place: PlaceName; mask: Uint8Array }[]> {
    const { label, width, height } = line;
    const boxes = await Promise.all(
      marks
        .filter(({ imageLabel }) => imageLabel === undefined || sharesLabel(imageLabel, label))
        .map(async (mark) => ({
          place: sharesLabel(mark.label ?? label, label) ? ('own' as const) : ('others' as const),
          mask: await maskOf([mark], mark.label ?? label, line),
        })),
    );
    const rest = new Uint8Array(width * height).fill(1);
    for (const { mask } of boxes) mask.forEach((inside, i) => inside && (rest[i] = 0));
    return [...boxes, { place: 'rest', mask: rest }];
  }

  private addPlaces(
    places: { place: PlaceName; mask: Uint8Array }[],
    { image, source, translated }: Judged['targets'][number],
    reconstruction: Image,
  ): void {
    for (const { place, mask } of places) {
      const sums = this.places[place];
      let [pixels, before, after, change] = [0, 0, 0, 0];
      mask.forEach((inside, i) => {
        if (!inside) return;
        pixels += 1;
        before += source.pixels[i] as number;
        after += translated.pixels[i] as number;
        for (let c = 0; c < 3; c++)
          change += Math.abs((image.pixels[3 * i + c] as number) - (reconstruction.pixels[3 * i + c] as number)) / 3;
      });
      if (pixels === 0) continue;
      sums.source.add(before, pixels);
      sums.translated.add(after, pixels);
      sums.change.add(change, pixels);
      if (place === 'rest') continue;
      sums.preferred.add(Number(after > 0));
      sums.preferredBefore.add(Number(before > 0));
    }
  }

  sum(lines: readonly TranslatedLine[], samples: number, boxes: boolean): Quality {
    const psnr = new Mean();
    for (const line of lines) if (line.psnr !== null) psnr.add(line.psnr);
    return {
      images: lines.length,
      translations: this.preferred.count,
      psnr: psnr.value,
      structure: { mean: this.structure.value ?? 0, control: this.control.value },
      label: {
        preferred: this.preferred.value ?? 0,
        translated: this.translated.value ?? 0,
        source: this.source.value ?? 0,
      },
      ...(boxes
        ? {
            places: {
              own: this.places.own.quality(),
              others: this.places.others.quality(),
              rest: this.places.rest.quality(),
            },
          }
        : {}),
      samples,
    };
  }
}
