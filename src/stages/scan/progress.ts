// Counts what is done, and turns it into events with a rate and the time left.
import { DiffmineError } from '../../util/errors.js';
import { count } from '../../web/html.js';
import type { Hooks, ScanEvent } from './options.js';

/** Evaluation events are sent at most this often, ms. */
const INTERVAL = 100;

/** What scoring tells while it goes on. */
export interface Counter {
  /** more UNet evaluations were made; negative where work was lost and is repeated */
  add(evaluations: number): void;
  /** evaluations that will not be made after all: of a skipped picture, or of a shard that another process has finished */
  drop(evaluations: number): void;
  /** a picture was scored, or skipped for `reason` */
  picture(image: string, reason?: string): void;
  /** this many pictures less (their shard is begun anew) or, negative, more (another process has done them) */
  uncount(pictures: number): void;
  shard(shard: number, pictures: number, skipped: number): void;
}

export class Meter implements Counter {
  private evaluations = 0;
  private begun: number | undefined;
  private sent = 0;
  /** images of finished shards */
  private finished: number;

  /**
   * @param expected evaluations to be made
   * @param pictures of this part of the run: all, and those done before; `shards` likewise
   */
  constructor(
    private readonly hooks: Hooks<ScanEvent>,
    private expected: number,
    private readonly pictures: { done: number; total: number },
    private readonly shards: { done: number; total: number },
  ) {
    this.finished = pictures.done;
  }

  /** UNet evaluations of this call, its workers' with them. */
  get done(): number {
    return this.evaluations;
  }

  add(evaluations: number): void {
    const now = performance.now();
    this.begun ??= now;
    this.evaluations += evaluations;
    if (now - this.sent >= INTERVAL) this.tell(now);
  }

  /** The last event. */
  finish(): void {
    if (this.begun !== undefined) this.tell(performance.now());
  }

  private tell(now: number): void {
    this.sent = now;
    const seconds = (now - (this.begun ?? now)) / 1000;
    const rate = seconds > 0 ? this.evaluations / seconds : 0;
    const left = Math.max(0, this.expected - this.evaluations);
    this.hooks.onProgress?.({
      type: 'evaluations',
      done: this.evaluations,
      total: this.expected,
      rate,
      secondsLeft: rate > 0 ? left / rate : 0,
    });
  }

  drop(evaluations: number): void {
    this.expected = Math.max(this.evaluations, this.expected - evaluations);
  }

  picture(image: string, reason?: string): void {
    this.pictures.done += 1;
    this.hooks.onProgress?.({ type: 'picture', image, ...this.pictures, ...(reason === undefined ? {} : { reason }) });
  }

  uncount(pictures: number): void {
    this.pictures.done -= pictures;
  }

  /**
   * Runs the work that this counts. Where it is cancelled, the error says what is kept and what will be done again.
   *
   * @param noun of what is counted: 'image'
   */
  async interruptible<T>(noun: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'CANCELLED')) throw error;
      const begun = this.pictures.done - this.finished;
      const again =
        begun > 0
          ? ` ${begun} ${begun === 1 ? `${noun} of an unfinished shard will be done again` : `${noun}s of unfinished shards will be done again`}.`
          : '';
      throw new DiffmineError(
        'CANCELLED',
        error.message,
        `Kept: ${this.shards.done} of ${count(this.shards.total, 'shard')} (${this.finished} of ${count(this.pictures.total, noun)}).${again} Run the same command to resume.`,
        { cause: error },
      );
    }
  }

  shard(shard: number, pictures: number, skipped: number): void {
    this.shards.done += 1;
    this.finished += pictures + skipped;
    this.hooks.onProgress?.({ type: 'shard', shard, ...this.shards, pictures, skipped });
  }
}

/** Counts on, and can take back what it counted of the shard at hand: its process may die. */
export class Tally implements Counter {
  private evaluations = 0;
  private dropped = 0;
  private pictures = 0;
  private done = false;

  constructor(private readonly meter: Counter) {}

  /** The shard at hand was counted to its end. */
  get finished(): boolean {
    return this.done;
  }

  /** Another shard is at hand. */
  begin(): void {
    this.evaluations = 0;
    this.dropped = 0;
    this.pictures = 0;
    this.done = false;
  }

  undo(): void {
    if (this.evaluations !== 0) this.meter.add(-this.evaluations);
    if (this.dropped !== 0) this.meter.drop(-this.dropped);
    if (this.pictures !== 0) this.meter.uncount(this.pictures);
    this.begin();
  }

  add(evaluations: number): void {
    this.evaluations += evaluations;
    this.meter.add(evaluations);
  }

  drop(evaluations: number): void {
    this.dropped += evaluations;
    this.meter.drop(evaluations);
  }

  picture(image: string, reason?: string): void {
    this.pictures += 1;
    this.meter.picture(image, reason);
  }

  uncount(pictures: number): void {
    this.pictures -= pictures;
    this.meter.uncount(pictures);
  }

  shard(shard: number, pictures: number, skipped: number): void {
    this.done = true;
    this.meter.shard(shard, pictures, skipped);
  }
}
