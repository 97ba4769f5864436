// Converts events of the stages to progress bars.
import type { MineEvent } from '../stages/mine/options.js';
import type { ScanEvent } from '../stages/scan/options.js';
import { because } from '../util/errors.js';
import { count, significant, whole } from '../web/html.js';
import { duration, type Output } from './output.js';

/** How a sharded stage is spoken of. */
interface Words {
  /** before the folder that is written */
  into: string;
  item: string;
  /** after the number of items */
  todo: string;
  /** of the progress bar */
  bar: string;
}

const SCANNING: Words = { into: 'Scanning into', item: 'image', todo: 'to score', bar: 'score' };
/** Seconds that a rate is measured over before a time is told. */
const MEASURED = 5;
/** Times shorter than this, in seconds, are not worth telling. */
const SHORT = 20;

/** Events of sharded stages. Their cost is told before they begin: UNet calls, and the time as soon as the rate is known. */
export function onScan(output: Output, { into, item, todo, bar }: Words = SCANNING): (event: ScanEvent) => void {
  let timeTold = true;
  return (event) => {
    switch (event.type) {
      case 'download':
      case 'load':
        output.progress({ type: event.type, done: event.done, total: event.total });
        break;
      case 'plan': {
        const { path, resumed, images, imagesDone, unetCalls, atMost, rate, batch, device } = event;
        timeTold = rate !== undefined;
        output.log(
          `${resumed ? 'Resuming' : into} ${path}: ${whole(images - imagesDone)} of ${count(images, item)} ${todo}, ` +
            `${atMost ? 'at most ' : ''}${whole(unetCalls)} UNet calls in batches of ${batch} on ${device}` +
            `${rate === undefined || unetCalls < rate ? '' : `, about ${duration(unetCalls / rate)} at the last rate measured here`}.`,
        );
        break;
      }
      case 'image':
        if (event.reason !== undefined) output.log(because('skipped', event.image, event.reason));
        break;
      case 'shard':
        output.debug(
          `Shard ${event.shard} is finished (${event.done} of ${event.total}): ${count(event.images, 'image')}, ${event.skipped} skipped.`,
        );
        break;
      case 'unetCalls':
        if (!timeTold && event.done >= MEASURED * event.rate && event.secondsLeft > SHORT) {
          timeTold = true;
          output.log(`About ${duration(event.secondsLeft)} left, at ${perSecond(event.rate)} UNet calls per second.`);
        }
        output.progress({
          type: bar,
          done: event.done,
          total: event.total,
          rate: event.rate,
          secondsLeft: event.secondsLeft,
        });
        break;
    }
  };
}

const perSecond = (rate: number): string => (rate >= 10 ? rate.toFixed(0) : significant(rate, 2));

export function onMine(output: Output): (event: MineEvent) => void {
  return (event) => {
    switch (event.type) {
      case 'download':
      case 'load':
        output.progress({ type: event.type, done: event.done, total: event.total });
        break;
      case 'compare':
      case 'patches':
      case 'trends':
        output.progress(event);
        break;
      case 'rank':
        output.debug(`${event.condition}: ${count(event.patches, 'patch', 'patches')} ranked.`);
        break;
      case 'features':
        output.progress({
          type: 'features',
          done: event.done,
          total: event.total,
          rate: event.rate,
          secondsLeft: event.secondsLeft,
        });
        break;
      case 'cluster':
        output.progress({ type: 'cluster', done: event.done, total: event.total });
        output.debug(
          `${event.condition}: ${count(event.clusters, 'cluster')}, inertia ${significant(event.inertia, 4)}.`,
        );
        break;
    }
  };
}

/** Said at the first Ctrl-C by commands that may only watch a queue. */
export function stoppingOf({ queue }: { queue?: string | undefined }): string | undefined {
  return queue === undefined ? undefined : 'Detaching: the workers on the queue continue.';
}

/** The tail of a stage's sentence. */
export function took(seconds: number): string {
  return seconds < 1 ? 'in under a second' : `in ${duration(seconds)}`;
}
