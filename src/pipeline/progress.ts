// Counts finished work, and emits events with the rate and the time left.
import { DiffmineError } from '../util/errors.js';
import { count, whole } from '../web/html.js';
import type { PipelineEvent } from './options.js';
import type { Hooks } from '../util/hooks.js';

/** Events of UNet calls are sent at most this often, ms. */
const INTERVAL = 100;

/** Counts progress of work on shards. */
export interface Counter {
  /** UNet calls made; negative if work was lost and is repeated */
  add(unetCalls: number): void;
  /** UNet calls that will not be made after all: of a skipped image, or of a shard that another process has finished */
  drop(unetCalls: number): void;
  /** an image was finished, or skipped for `reason` */
  image(image: string, reason?: string): void;
  /** takes back this many images (their shard restarts); negative adds images that another process has done */
  uncount(images: number): void;
  shard(shard: number, images: number, skipped: number): void;
  /** a shard took `seconds`; for `waited` of them the engine had nothing to do */
  time(seconds: number, waited: number): void;
}

/** The command ends before the work does: its hint says how to follow the work. */
export class Detached extends DiffmineError {}

interface Progress {
  done: number;
  total: number;
}

export class Meter implements Counter {
  private unetCalls = 0;
  private begun: number | undefined;
  /** calls of the first batch, whose beginning is not known; when the last batch ended */
  private firstCalls = 0;
  private last = 0;
  private sent = 0;
  /** of shards, s: all, and while their engine had nothing to do */
  private seconds = 0;
  private waited = 0;
  /** images of finished shards */
  private finished: number;
  /** ' of round 2 of 5' while a round is counted, whose images and shards take the place of the work's */
  private where = '';
  private outside: { images: Progress; shards: Progress } | undefined;

  /**
   * @param expected UNet calls to be made
   * @param images of this part of the run: all, and those done before; `shards` likewise
   */
  constructor(
    private readonly hooks: Hooks<PipelineEvent>,
    private expected: number,
    private images: Progress,
    private shards: Progress,
  ) {
    this.finished = images.done;
  }

  /** UNet calls of this call, including its workers'. */
  get done(): number {
    return this.unetCalls;
  }

  /** Fraction of the time on shards in which their engines had nothing to do; undefined before the first one. */
  get engineWaiting(): number | undefined {
    return this.seconds > 0 ? this.waited / this.seconds : undefined;
  }

  time(seconds: number, waited: number): void {
    this.seconds += seconds;
    this.waited += waited;
  }

  /** UNet calls per second since the first batch; undefined before `seconds` of them. */
  rateAfter(seconds: number): number | undefined {
    const passed = (this.last - (this.begun ?? this.last)) / 1000;
    const rate = (this.unetCalls - this.firstCalls) / passed;
    return passed >= seconds && rate > 0 ? rate : undefined;
  }

  add(unetCalls: number): void {
    const now = performance.now();
    if (this.begun === undefined) [this.begun, this.firstCalls] = [now, unetCalls];
    this.last = now;
    this.unetCalls += unetCalls;
    if (now - this.sent >= INTERVAL) this.tell(now);
  }

  /**
   * A round begins: its images and shards are counted until `leave`.
   *
   * @param unetCalls that are left, of this round and those after it
   */
  enter(name: string, { unetCalls, items, shards }: { unetCalls: number; items: Progress; shards: Progress }): void {
    this.outside = { images: this.images, shards: this.shards };
    [this.images, this.shards, this.finished, this.where] = [items, shards, items.done, ` of ${name}`];
    this.expected = this.unetCalls + unetCalls;
  }

  leave(): void {
    if (!this.outside) return;
    [this.images, this.shards, this.where] = [this.outside.images, this.outside.shards, ''];
    this.finished = this.images.done;
    this.outside = undefined;
  }

  /** The last event. */
  finish(): void {
    if (this.begun !== undefined) this.tell(performance.now());
  }

  private tell(now: number): void {
    this.sent = now;
    const seconds = (now - (this.begun ?? now)) / 1000;
    const rate = seconds > 0 ? this.unetCalls / seconds : 0;
    const left = Math.max(0, this.expected - this.unetCalls);
    this.hooks.onProgress?.({
      type: 'unetCalls',
      done: this.unetCalls,
      total: this.expected,
      rate,
      secondsLeft: rate > 0 ? left / rate : 0,
    });
  }

  drop(unetCalls: number): void {
    this.expected = Math.max(this.unetCalls, this.expected - unetCalls);
  }

  image(image: string, reason?: string): void {
    this.images.done += 1;
    this.hooks.onProgress?.({ type: 'image', image, ...this.images, ...(reason === undefined ? {} : { reason }) });
  }

  uncount(images: number): void {
    this.images.done -= images;
  }

  /**
   * Runs the work that this counts. If it is cancelled, the error says what is kept and what will be repeated.
   *
   * @param noun of what is counted: 'image'
   */
  async interruptible<T>(noun: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DiffmineError && error.code === 'CANCELLED') || error instanceof Detached) throw error;
      const begun = this.images.done - this.finished;
      const again =
        begun > 0
          ? ` ${begun} ${begun === 1 ? `${noun} of an unfinished shard will be repeated` : `${noun}s of unfinished shards will be repeated`}.`
          : '';
      throw new DiffmineError(
        'CANCELLED',
        error.message,
        `Kept: ${this.shards.done} of ${count(this.shards.total, 'shard')}${this.where} (${whole(this.finished)} of ${count(this.images.total, noun)}).${again} Run the same command to resume.`,
        { cause: error },
      );
    }
  }

  shard(shard: number, images: number, skipped: number): void {
    this.shards.done += 1;
    this.finished += images + skipped;
    this.hooks.onProgress?.({ type: 'shard', shard, ...this.shards, images, skipped });
  }
}

/** A counter that can take back the counts of the current shard, whose process may die. */
export class Tally implements Counter {
  private unetCalls = 0;
  private dropped = 0;
  private images = 0;
  private done = false;

  constructor(private readonly meter: Counter) {}

  /** Whether the current shard is finished. */
  get finished(): boolean {
    return this.done;
  }

  /** Begins to count another shard. */
  begin(): void {
    this.unetCalls = 0;
    this.dropped = 0;
    this.images = 0;
    this.done = false;
  }

  undo(): void {
    if (this.unetCalls !== 0) this.meter.add(-this.unetCalls);
    if (this.dropped !== 0) this.meter.drop(-this.dropped);
    if (this.images !== 0) this.meter.uncount(this.images);
    this.begin();
  }

  add(unetCalls: number): void {
    this.unetCalls += unetCalls;
    this.meter.add(unetCalls);
  }

  drop(unetCalls: number): void {
    this.dropped += unetCalls;
    this.meter.drop(unetCalls);
  }

  image(image: string, reason?: string): void {
    this.images += 1;
    this.meter.image(image, reason);
  }

  uncount(images: number): void {
    this.images -= images;
    this.meter.uncount(images);
  }

  shard(shard: number, images: number, skipped: number): void {
    this.done = true;
    this.meter.shard(shard, images, skipped);
  }

  time(seconds: number, waited: number): void {
    this.meter.time(seconds, waited);
  }
}
