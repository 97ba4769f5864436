// In which order a training uses its images, and how each is cropped. All of it is a function of the seed and a position, so that an interrupted
// training resumes with the next image.
import { Random } from '../../util/random.js';

/** The k-th training image: which image, and how it is cropped. */
export interface View {
  /** of the images */
  index: number;
  /** position of the crop, as fractions of the available range */
  across: number;
  down: number;
  mirrored: boolean;
  /** trained under the null condition */
  unlabeled: boolean;
}

/** The endless sequence of training images: shuffled epochs, one after another. */
export class Order {
  private pass = -1;
  private shuffled = new Uint32Array(0);

  constructor(
    private readonly images: number,
    private readonly settings: { seed: number; drop: number; flips: boolean },
  ) {}

  /** Of the k-th image of the training, from 0. */
  view(k: number): View {
    const { seed, drop, flips } = this.settings;
    const pass = Math.floor(k / this.images);
    if (pass !== this.pass) {
      this.shuffled = Uint32Array.from({ length: this.images }, (_, i) => i);
      const random = new Random('order', seed, pass);
      for (let i = this.images - 1; i > 0; i--) {
        const j = random.whole(0, i);
        [this.shuffled[i], this.shuffled[j]] = [this.shuffled[j] as number, this.shuffled[i] as number];
      }
      this.pass = pass;
    }
    const random = new Random('view', seed, k);
    const [across, down, mirror, label] = [random.next(), random.next(), random.next(), random.next()];
    return {
      index: this.shuffled[k % this.images] as number,
      across,
      down,
      mirrored: flips && mirror < 0.5,
      unlabeled: label < drop,
    };
  }
}
