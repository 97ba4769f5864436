// The diffusers baseline: a Python process that runs one forward pass at a time, so that both sides are timed in turn
// on the same machine within the same minute.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { DiffmineError } from '../../util/errors.js';
import { parseJson } from '../../util/json.js';
import { foreignEnvironment } from '../../engine/index.js';
import type { Dtype, UNetConfig } from '../../engine/types.js';

export interface DiffusersInfo {
  torch: string;
  diffusers: string;
  threads: number;
}

/** One forward pass of the UNet of `config` with random weights, channels_last. */
export interface DiffusersPass {
  dtype: Dtype;
  /** channels, height, width */
  input: [number, number, number];
  /** inputs, each under one condition */
  batch: number;
  /** 'eager', or a mode of torch.compile: 'max-autotune' */
  mode: string;
  /** 'cpu', 'cuda', 'cuda:1' */
  device: string;
  config: UNetConfig;
}

const SCRIPTS = join(import.meta.dirname, '..', '..', '..', 'scripts');

/** The arguments of diffusers' UNet2DConditionModel for our reading of its config. */
export function diffusersConfig(config: UNetConfig): Record<string, unknown> {
  return {
    in_channels: config.inChannels,
    out_channels: config.outChannels,
    block_out_channels: config.blockOutChannels,
    down_block_types: config.downBlockTypes,
    up_block_types: config.upBlockTypes,
    mid_block_type: config.midBlockType,
    layers_per_block: config.layersPerBlock,
    attention_head_dim: config.attentionHeadDim,
    transformer_layers_per_block: config.transformerLayers,
    cross_attention_dim: config.crossAttentionDim,
    norm_num_groups: config.normNumGroups,
    norm_eps: config.normEps,
    use_linear_projection: config.useLinearProjection,
    upcast_attention: config.upcastAttention,
    resnet_time_scale_shift: config.scaleShift ? 'scale_shift' : 'default',
    ...(config.numClassEmbeds > 0 ? { num_class_embeds: config.numClassEmbeds } : {}),
  };
}

export class Diffusers {
  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly lines: AsyncIterator<string>,
    readonly info: DiffusersInfo,
    /** rejects when the caller cancels */
    private readonly cancelled: Promise<never>,
  ) {}

  /** Starts `python`. Throws SETUP where it lacks torch or diffusers; `signal` ends it at once, in the middle of a compilation too: then CANCELLED. */
  static async start(python: string, threads: number, signal?: AbortSignal): Promise<Diffusers> {
    const child = spawn(python, [join(SCRIPTS, 'bench-diffusers.py'), String(threads)], {
      stdio: 'pipe',
      env: foreignEnvironment(),
    });
    child.stderr.resume(); // warnings of the libraries
    child.stdin.on('error', () => undefined); // a dead child is told by the missing answer
    const failed = new Promise<never>((_, reject) => child.once('error', reject));
    const cancelled = new Promise<never>((_, reject) => {
      const stop = (): void => {
        child.kill('SIGKILL');
        reject(new DiffmineError('CANCELLED', 'The benchmark was cancelled.'));
      };
      if (signal?.aborted) stop();
      else signal?.addEventListener('abort', stop, { once: true });
    });
    cancelled.catch(() => undefined); // nobody may be waiting just then
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const hint = 'Give `diffusers` a Python that can import torch and diffusers.';
    try {
      const first = await Promise.race([lines.next(), failed, cancelled]);
      const info = parseJson(String(first.value ?? '{"error":"the process ended at once"}')) as DiffusersInfo & {
        error?: string;
      };
      if (info.error) throw new Error(info.error);
      return new Diffusers(child, lines, info, cancelled);
    } catch (error) {
      child.kill();
      if (error instanceof DiffmineError) throw error;
      throw new DiffmineError(
        'SETUP',
        `diffusers does not start in "${python}": ${error instanceof Error ? error.message : String(error)}.`,
        hint,
        { cause: error },
      );
    }
  }

  /** Seconds of one forward pass, the device waited for before and after; or why there is none: out of memory, no compiler. The first compiles. */
  async forward(pass: DiffusersPass): Promise<number | string> {
    this.child.stdin.write(`${JSON.stringify({ ...pass, config: diffusersConfig(pass.config) })}\n`);
    const answer = await Promise.race([this.lines.next(), this.cancelled]);
    if (answer.done)
      throw new DiffmineError(
        'SETUP',
        'The diffusers process ended during the benchmark.',
        'It may have run out of memory.',
      );
    const { seconds, error } = parseJson(answer.value) as { seconds?: number; error?: string };
    return seconds ?? error ?? 'it gave no time';
  }

  stop(): void {
    this.child.kill();
  }
}

/** The script that is the reference's whole loop. */
export const REFERENCE_SCRIPT = join(SCRIPTS, 'reference-loop.py');
