// `diffmine bench`: how many UNet evaluations a second, how many training steps, and how many pictures through the whole pipeline.
// Ratios are what counts: where a peer is given, both are timed in turn, and medians and spread are told.
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';

import { openDataset } from '../dataset';
import { DiffmineError } from '../errors';
import { mine } from '../mine/mine';
import { openModel } from '../model';
import { Engine, loadAddon } from '../native';
import type { CallOptions, ModelSource, Precision } from '../native/types';
import { scan } from '../scan/scan';
import { noise, spread, type Spread } from './figures';
import { Peer, type PeerInfo } from './peer';
import { syntheticModel } from './synthetic';
import { timeTrainingApart, type TrainingBench, type TrainingTask } from './training';

export interface BenchOptions {
  /** 'synthetic:sd15' or a model folder (text-conditional) */
  model: string;
  device: string;
  precisions: Precision[];
  /** latent sides to time forward passes of; none: no passes */
  latents: number[];
  /** evaluations a forward pass: label and null of batch / 2 inputs */
  batch: number;
  /** timed passes of each kind, after one that is not counted */
  repeats: number;
  threads?: number;
  /** a Python with torch and diffusers to compare with, in the same run */
  peer?: string;
  /** to time the training of: sizes of src/train/sizes.ts, and 'model' for that of `model`; batch and checkpointing as in TrainingTask */
  training?: { what: string[] } & Pick<TrainingTask, 'batch' | 'checkpointing'>;
  /** a model and a data set for the pipeline's speed */
  pipeline?: { model: string; dataset: string };
}

export interface UNetBench {
  precision: Precision;
  latent: number;
  batch: number;
  /** of one forward pass */
  seconds: Spread;
  evaluationsPerSecond: number;
  peerSeconds?: Spread;
  /** peer's median time over ours: above 1 we are faster */
  ratio?: number;
}

export interface BenchReport {
  format: 'diffmine-bench-1';
  model: string;
  device: string;
  machine: { processor: string; threads: number; cpuCapability: string; libtorch: string };
  peer?: PeerInfo;
  unet: UNetBench[];
  training?: TrainingBench[];
  pipeline?: { pictures: number; samples: number; seconds: number; picturesPerSecond: number };
}

export interface BenchHooks {
  signal?: AbortSignal;
  log?: (line: string) => void;
}

async function benchUNet(options: BenchOptions, source: ModelSource, peer: Peer | undefined, hooks: BenchHooks): Promise<UNetBench[]> {
  const results: UNetBench[] = [];
  const call: CallOptions = hooks.signal ? { signal: hooks.signal } : {};
  const inputs = Math.max(1, options.batch >> 1);
  for (const precision of options.precisions) {
    const engine = new Engine({ device: options.device, precision, threads: options.threads ?? 0 });
    try {
      await engine.loadModel({ unet: source.unet, schedule: source.schedule }, call);
      const conditions = await engine.prepareConditions(noise([2, 77, source.unet.config.crossAttentionDim]), call);
      for (const latent of options.latents) {
        const x = noise([inputs, source.unet.config.inChannels, latent, latent]);
        const rows = { timesteps: new Array<number>(inputs).fill(300), conditionIndex: Array.from({ length: inputs * 2 }, (_, i) => i % 2), fanOut: 2 };
        const ours: number[] = [];
        const theirs: number[] = [];
        for (let repeat = 0; repeat <= options.repeats; repeat++) {
          const start = process.hrtime.bigint();
          await engine.unetForward(conditions, { x, ...rows }, call);
          const seconds = Number(process.hrtime.bigint() - start) / 1e9;
          const peerSeconds = await peer?.forward(precision, latent, inputs * 2);
          if (repeat === 0) continue;
          ours.push(seconds);
          if (peerSeconds !== undefined) theirs.push(peerSeconds);
        }
        const seconds = spread(ours);
        const entry: UNetBench = { precision, latent, batch: inputs * 2, seconds, evaluationsPerSecond: (inputs * 2) / seconds.median };
        if (theirs.length) {
          entry.peerSeconds = spread(theirs);
          entry.ratio = entry.peerSeconds.median / seconds.median;
        }
        results.push(entry);
        hooks.log?.(`${precision} ${latent}x${latent}: ${seconds.median.toFixed(3)} s a pass${entry.ratio === undefined ? '' : `, peer ${(entry.peerSeconds as Spread).median.toFixed(3)} s: ${entry.ratio.toFixed(2)} x`}`);
      }
    } finally {
      await engine.dispose();
    }
  }
  return results;
}

async function benchTraining(options: BenchOptions, { what, batch, checkpointing }: NonNullable<BenchOptions['training']>, hooks: BenchHooks): Promise<TrainingBench[]> {
  const { device, repeats, threads } = options;
  const results: TrainingBench[] = [];
  for (const name of what) {
    for (const precision of options.precisions) {
      const result = await timeTrainingApart({ what: name === 'model' ? options.model : name, device, precision, batch, checkpointing, repeats, threads }, hooks.signal);
      results.push(result);
      const { measured, skipped } = result;
      hooks.log?.(`training ${result.what}, ${precision}: ${measured ? `${measured.seconds.median.toFixed(3)} s a step` : `skipped, ${skipped ?? ''}`}`);
    }
  }
  return results;
}

async function benchPipeline(options: BenchOptions, paths: { model: string; dataset: string }, hooks: BenchHooks): Promise<NonNullable<BenchReport['pipeline']>> {
  const folder = await mkdtemp(join(tmpdir(), 'diffmine-bench-'));
  try {
    const samples = 10;
    const pictures = (await openDataset(paths.dataset)).images.length;
    const run = join(folder, 'run');
    const start = process.hrtime.bigint();
    await scan({ dataset: paths.dataset, model: paths.model, out: run, samples, device: options.device }, hooks);
    await mine(run, { device: options.device }, hooks);
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    return { pictures, samples, seconds, picturesPerSecond: pictures / seconds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Times the UNet's forward pass at each precision and latent size (label and null of the same inputs together, as a scan does),
 * training steps, and scan + mine of a small data set.
 *
 * @throws SETUP if the peer does not start; OUT_OF_MEMORY where memory suffices for nothing that was asked for; what loading a model throws; CANCELLED
 */
export async function bench(options: BenchOptions, hooks: BenchHooks = {}): Promise<BenchReport> {
  const info = loadAddon();
  const device = info.devices().find(({ id }) => id === options.device) ?? info.devices()[0];
  const source = options.model.startsWith('synthetic:') ? syntheticModel(options.model) : (await openModel(options.model)).source;
  const peer = options.peer ? await Peer.start(options.peer, options.threads ?? 0) : undefined;
  try {
    const report: BenchReport = {
      format: 'diffmine-bench-1',
      model: options.model,
      device: options.device,
      machine: {
        processor: device?.name ?? cpus()[0]?.model ?? 'unknown',
        threads: options.threads ?? device?.threads ?? 0,
        cpuCapability: device?.cpuCapability ?? '',
        libtorch: info.buildInfo().libtorchLoaded,
      },
      ...(peer ? { peer: peer.info } : {}),
      unet: [],
    };
    // First, while this process holds nothing of the device.
    if (options.training) report.training = await benchTraining(options, options.training, hooks);
    const skipped = report.training?.find((one) => one.skipped !== undefined);
    if (skipped && report.training?.every(({ measured }) => !measured) && options.latents.length === 0 && !options.pipeline) {
      throw new DiffmineError('OUT_OF_MEMORY', `The training of ${skipped.what} was not measured: ${skipped.skipped ?? ''}.`, 'Name a smaller one: see diffmine train --list.');
    }
    if (options.latents.length > 0) report.unet = await benchUNet(options, source, peer, hooks);
    if (options.pipeline) report.pipeline = await benchPipeline(options, options.pipeline, hooks);
    return report;
  } finally {
    peer?.stop();
  }
}
