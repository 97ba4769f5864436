// `diffmine bench`: how many UNet evaluations a second, and how many pictures through the whole pipeline.
// Ratios are what counts: where a peer is given, both are timed in turn, and medians and spread are told.
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';

import { openDataset } from '../dataset';
import { mine } from '../mine/mine';
import { openModel } from '../model';
import { Engine, loadAddon } from '../native';
import { fromFloat32 } from '../native/tensor';
import type { CallOptions, ModelSource, Precision } from '../native/types';
import { scan } from '../scan/scan';
import { Peer, type PeerInfo } from './peer';
import { syntheticModel } from './synthetic';

export interface BenchOptions {
  /** 'synthetic:sd15' or a model folder (text-conditional) */
  model: string;
  device: string;
  precisions: Precision[];
  /** latent sides */
  latents: number[];
  /** evaluations a forward pass: label and null of batch / 2 inputs */
  batch: number;
  /** timed passes of each kind, after one that is not counted */
  repeats: number;
  threads?: number;
  /** a Python with torch and diffusers to compare with, in the same run */
  peer?: string;
  /** a model and a data set for the pipeline's speed */
  pipeline?: { model: string; dataset: string };
}

export interface Spread {
  median: number;
  min: number;
  max: number;
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
  pipeline?: { pictures: number; samples: number; seconds: number; picturesPerSecond: number };
}

export interface BenchHooks {
  signal?: AbortSignal;
  log?: (line: string) => void;
}

export function spread(values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const at = (i: number): number => sorted[i] ?? NaN;
  return { median: Number.isInteger(middle) ? (at(middle - 1) + at(middle)) / 2 : at(Math.floor(middle)), min: at(0), max: at(sorted.length - 1) };
}

/** Standard normal numbers, reproducible: never time zeros. */
function noise(shape: number[]): ReturnType<typeof fromFloat32> {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  let state = 1;
  for (let i = 0; i < values.length; i++) {
    let sum = -6; // the sum of twelve uniform numbers is near enough to a normal one
    for (let k = 0; k < 12; k++) sum += (state = (state * 16807) % 2147483647) / 2147483647;
    values[i] = sum;
  }
  return fromFloat32(shape, values);
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
 * and scan + mine of a small data set. Throws SETUP if the peer does not start.
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
      unet: await benchUNet(options, source, peer, hooks),
    };
    if (options.pipeline) report.pipeline = await benchPipeline(options, options.pipeline, hooks);
    return report;
  } finally {
    peer?.stop();
  }
}
