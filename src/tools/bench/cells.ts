// Forward passes of the UNet, by dtype, size and batch. Each round measures everything that enters a ratio: the machine's rates, diffmine's
// forward pass, a scoring call, and diffusers' forward passes. A machine that slows down slows all of them.
import { significant } from '../../web/html.js';
import { channelsOf, unetOf } from '../../models/denoiser.js';
import { writeFileSync } from 'node:fs';

import { asDiffmineError, DiffmineError } from '../../util/errors.js';
import type { Conditions, Engine } from '../../engine/index.js';
import { float32 } from '../../engine/tensor.js';
import type { CallOptions } from '../../engine/types.js';
import { rowBytes } from '../../pipeline/batch.js';
import { ablate, benchEngine } from './ablation.js';
import type { CellOptions } from './options.js';
import { onePass, seconds, spread, warmUpRounds, type Spread } from './figures.js';
import { operations } from '../../models/operations.js';
import type { Diffusers } from './diffusers.js';
import { cellName, type Cell, type Measured, type DiffusersBench, type Start } from './report.js';
import { ScanTimer, timeDecode, timeMining } from './stages.js';
import { twoConditions, type Subject } from './subject.js';
import type { Hooks } from '../../util/hooks.js';

/** Seconds of each of the machine's rates, a round. */
const RATES = { cpu: 0.25, cuda: 0.1 } as const;

/** A benchmark reports lines, not progress. */
export type BenchHooks = Pick<Hooks, 'signal' | 'onLog'>;

/** The cells asked for, from the smallest within a precision, so that peaks of memory are each cell's own. */
export function planCells(
  { source, pixelsPerCell }: Subject,
  { dtypes, latents, batches }: Pick<CellOptions, 'dtypes' | 'latents' | 'batches'>,
): Cell[] {
  const sizes = latents
    .flatMap((side) => batches.map((batch) => ({ side, batch: 2 * Math.max(1, batch >> 1) })))
    .sort((a, b) => a.side ** 2 * a.batch - b.side ** 2 * b.batch);
  return dtypes.flatMap((dtype) =>
    sizes.map(({ side, batch }): Cell => {
      const pixels = side * pixelsPerCell;
      return {
        dtype,
        input: [channelsOf(source), side, side],
        pixels,
        patch: Math.max(1, Math.floor(pixels / 8)),
        batch,
        operations: operations(source, side, side),
      };
    }),
  );
}

/** Lets the process's peak of memory begin again, where Linux allows it: a cell's peak is then not that of a former one. The allocator of a GPU is not asked. */
function forgetPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // another system, or a sandbox: the peak stays that since the start
  }
}

/** Times of one side's passes. */
class Passes {
  first?: number;
  readonly counted: number[] = [];

  add(taken: number, counts: boolean): void {
    this.first ??= taken;
    if (counts) this.counted.push(taken);
  }
}

async function measure(
  cell: Cell,
  engine: Engine,
  conditions: Conditions,
  options: CellOptions,
  diffusersCells: { diffusers: Diffusers; modes: string[] } | undefined,
  config: Subject,
  call: CallOptions,
): Promise<Measured> {
  const cuda = options.device.startsWith('cuda');
  const warmUp = warmUpRounds(options.device);
  const pass = onePass(cell);
  const ours = new Passes();
  const matmul: number[] = [];
  const copy: number[] = [];
  const scanTimer = options.stages === false ? undefined : new ScanTimer(engine, conditions, cell, options.device);
  const others = new Map(
    (diffusersCells?.modes ?? []).map((mode) => [
      mode,
      { passes: new Passes(), skipped: undefined as string | undefined },
    ]),
  );

  // The first pass of all: nothing of this shape has run before.
  const first = await seconds(async () => {
    const { sample } = await engine.unetForward(conditions, pass, call);
    if (!Number.isFinite(float32(sample)[0]))
      throw new DiffmineError('NUMERICS', `${cellName(cell)}: a forward pass gave NaN.`, 'Try `dtype` fp32.');
  });
  for (let round = 0; round < warmUp + options.repeats; round++) {
    const counts = round >= warmUp;
    const rates = await engine.machineRates({ seconds: RATES[cuda ? 'cuda' : 'cpu'] }, call);
    ours.add(await seconds(() => engine.unetForward(conditions, pass, call)), counts);
    await scanTimer?.round(rates.matmul, counts, call);
    for (const [mode, other] of others) {
      if (other.skipped !== undefined) continue;
      const answer = await diffusersCells?.diffusers.forward({
        dtype: cell.dtype,
        input: cell.input,
        batch: cell.batch,
        mode,
        device: options.device,
        config: unetOf(config.source, 'A comparison with diffusers').config,
      });
      if (typeof answer === 'string') other.skipped = answer;
      else if (answer !== undefined) other.passes.add(answer, counts);
    }
    if (counts) {
      matmul.push(rates.matmul);
      copy.push(rates.copy);
    }
  }
  const time = spread(ours.counted);
  const flops = (cell.batch * cell.operations) / time.median;
  const measured: Measured = {
    seconds: time,
    firstSeconds: first,
    unetCallsPerSecond: cell.batch / time.median,
    flops,
    matmul: spread(matmul),
    copy: spread(copy),
    utilization: spread(ours.counted.map((taken, i) => (cell.batch * cell.operations) / taken / (matmul[i] ?? NaN))),
    peakMemory: engine.memory().peak,
  };
  if (scanTimer) {
    const { scan, stages } = scanTimer.result(await timeDecode(cell.pixels, options.repeats));
    measured.scan = scan;
    measured.stages = {
      ...stages,
      ...(await timeMining(engine, conditions, cell, options.device, Math.min(3, options.repeats), call)),
    };
  }
  if (others.size > 0) {
    measured.diffusersCells = [...others].map(([mode, { passes, skipped }]): DiffusersBench => {
      if (skipped !== undefined || passes.counted.length === 0) return { mode, skipped: skipped ?? 'it gave no times' };
      const theirs: Spread = spread(passes.counted);
      return {
        mode,
        seconds: theirs,
        ...(passes.first === undefined ? {} : { firstSeconds: passes.first }),
        ratio: theirs.median / time.median,
      };
    });
  }
  return measured;
}

/**
 * Measures each cell. One that does not fit into memory is told as skipped, and the others are measured anyway.
 *
 * @param memoryFree bytes free on a CPU before anything is loaded: more than that is not even tried, as the system would kill the process
 */
export async function benchCells(
  subject: Subject,
  cells: Cell[],
  options: CellOptions,
  diffusersCells: { diffusers: Diffusers; modes: string[] } | undefined,
  memoryFree: number,
  hooks: BenchHooks,
): Promise<{ starts: Start[]; cells: Cell[] }> {
  const call: CallOptions = { signal: hooks.signal };
  const starts: Start[] = [];
  const results: Cell[] = [];
  const { vae, ...others } = subject.source;
  for (const dtype of options.dtypes) {
    const here = cells.filter((cell) => cell.dtype === dtype);
    const begun = process.hrtime.bigint();
    const since = (): number => Number(process.hrtime.bigint() - begun) / 1e9;
    const engine = benchEngine(options.disable ?? [], options, dtype);
    try {
      const loadSeconds = await seconds(() =>
        engine.loadModel({ ...others, ...(vae && options.stages !== false ? { vae } : {}) }, call),
      );
      const conditions = await engine.prepareConditions(twoConditions(subject), call);
      for (const cell of here) {
        const skip = (reason: string): void => {
          results.push({ ...cell, skipped: reason });
          hooks.onLog?.(`${cellName(cell)}: skipped, ${reason}`);
        };
        const needs =
          cell.batch *
          rowBytes(
            subject.source,
            { rows: cell.input[1], columns: cell.input[2], height: cell.pixels, width: cell.pixels },
            dtype,
          );
        if (!options.device.startsWith('cuda') && needs > memoryFree) {
          skip(
            `a forward pass takes about ${(needs / 1e9).toFixed(1)} GB and ${(memoryFree / 1e9).toFixed(1)} GB are free`,
          );
          continue;
        }
        try {
          const before = since();
          forgetPeak();
          const measured = await measure(cell, engine, conditions, options, diffusersCells, subject, call);
          if (options.ablate)
            measured.ablations = await ablate(options.ablate, cell, { engine, conditions }, subject, options, call);
          results.push({ ...cell, measured });
          if (starts.at(-1)?.dtype !== dtype)
            starts.push({ dtype, loadSeconds, firstResultSeconds: before + measured.firstSeconds });
          const { seconds: time, utilization, unetCallsPerSecond, diffusersCells: others } = measured;
          hooks.onLog?.(
            `${cellName(cell)}: ${time.median.toFixed(3)} s per forward pass, ${significant(unetCallsPerSecond, 3)} UNet calls/s, ${(100 * utilization.median).toFixed(0)} % of the machine's matmul rate` +
              (others ?? [])
                .map(
                  ({ mode, ratio, skipped }) =>
                    `; ${mode}: ${ratio === undefined ? (skipped ?? '') : `${ratio.toFixed(2)} x`}`,
                )
                .join(''),
          );
        } catch (thrown) {
          const error = asDiffmineError(thrown);
          if (error.code !== 'OUT_OF_MEMORY') throw error;
          skip(`out of memory (${error.message})`);
        }
      }
    } finally {
      await engine.dispose();
    }
  }
  return { starts, cells: results };
}
