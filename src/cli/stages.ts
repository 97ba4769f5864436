// Converts events of the stages to progress bars.
import type { MineEvent } from '../stages/mine/options.js';
import type { ScanEvent } from '../stages/scan/options.js';
import { duration, type Output } from './output.js';

export function onScan(output: Output): (event: ScanEvent) => void {
  return (event) => {
    switch (event.type) {
      case 'load':
        output.progress({ type: 'load', done: event.done, total: event.total });
        break;
      case 'plan':
        output.log(
          `${event.resumed ? 'Resuming' : 'Scanning into'} ${event.path}: ${event.images - event.imagesDone} of ${event.images} images to score, ` +
            `${event.unetCalls} UNet calls in batches of ${event.batch} on ${event.device}.`,
        );
        break;
      case 'image':
        if (event.reason !== undefined) output.log(`skipped ${event.image}: ${event.reason}`);
        break;
      case 'shard':
        output.debug(
          `Shard ${event.shard} is finished (${event.done} of ${event.total}): ${event.images} images, ${event.skipped} skipped.`,
        );
        break;
      case 'unetCalls':
        output.progress({
          type: 'score',
          done: event.done,
          total: event.total,
          rate: event.rate,
          secondsLeft: event.secondsLeft,
        });
        break;
    }
  };
}

export function onMine(output: Output): (event: MineEvent) => void {
  return (event) => {
    switch (event.type) {
      case 'load':
        output.progress({ type: 'load', done: event.done, total: event.total });
        break;
      case 'compare':
        output.progress({ type: 'compare', done: event.done, total: event.total });
        break;
      case 'rank':
        output.debug(`${event.condition}: ${event.patches} patches ranked.`);
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
        output.debug(`${event.condition}: ${event.clusters} clusters, inertia ${event.inertia.toPrecision(4)}.`);
        break;
    }
  };
}

/** The tail of a stage's sentence. */
export function took(seconds: number): string {
  return seconds < 1 ? 'in under a second' : `in ${duration(seconds)}`;
}
