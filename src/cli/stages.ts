// Converts command-line values to options of the stages, and their events to progress bars.
import type { MineEvent, MineOptions } from '../stages/mine/options.js';
import type { ScanEvent, ScanOptions } from '../stages/scan/options.js';
import type { MINE, OUT, SCAN, SHARD, Values } from './options.js';
import { duration, type Output } from './output.js';

/** Without what is undefined: an option that was not given must not hide a default. */
export function defined<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

/** Everything of a scan but where it is written. */
export function scanOptions(values: Values<typeof SCAN>): Omit<ScanOptions, 'out'> {
  return defined({
    dataset: values.dataset,
    encoding: values.encoding,
    imageRoot: values['image-root'],
    model: values.model,
    variant: values.variant,
    preset: values.preset,
    prompt: values.prompt,
    nullPrompt: values['null-prompt'],
    size: values.size,
    patch: values.patch,
    samples: values.samples,
    seed: values.seed,
    tRange: values['t-range'],
    tWeights: values['t-weights'],
    sampler: values.sampler,
    perImage: values['per-image'],
    batch: values.batch,
    dtype: values.dtype,
    device: values.device,
    allLabels: values['all-labels'],
    against: values.against,
    othersPerSample: values['others-per-sample'],
    maps: values['no-maps'] === undefined ? undefined : !values['no-maps'],
    shardSize: values['shard-size'],
    replay: values.replay,
    untrained: values.untrained,
    checksum: values.checksum,
    tune: values.tune,
    workers: values.workers,
    devices: values.devices,
    threads: values.threads,
  });
}

export function scanWork(
  values: Values<typeof OUT> & Partial<Values<typeof SHARD>>,
): Pick<ScanOptions, 'out' | 'shard'> {
  return defined({ out: values.out, shard: values.shard });
}

export function mineOptions(values: Values<typeof MINE>): MineOptions {
  return defined({
    top: values.top,
    clusters: values.clusters,
    restarts: values.restarts,
    rank: values.rank,
    timestep: values['dift-t'],
    upBlock: values['up-block'],
    ensemble: values.ensemble,
    keepDuplicates: values['keep-duplicates'],
    minContrast: values['min-contrast'],
    groupBy: values['group-by'],
    maxPerGroup: values['max-per-group'],
    diverse: values.diverse,
    recenter: values.recenter,
  });
}

export function onScan(output: Output): (event: ScanEvent) => void {
  return (event) => {
    switch (event.type) {
      case 'load':
        output.progress({ type: 'load', done: event.done, total: event.total });
        break;
      case 'plan':
        output.log(
          `${event.resumed ? 'Resuming' : 'Scanning into'} ${event.run}: ${event.images - event.imagesDone} of ${event.images} images to score, ` +
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
