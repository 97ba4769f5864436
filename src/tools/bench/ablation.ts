// The speedup of each engine optimization: forward passes and scoring calls, alternating with an engine that has it disabled.
import { asDiffmineError } from '../../util/errors.js';
import { Engine, type Conditions } from '../../engine/index.js';
import type { CallOptions, Optimization, Dtype } from '../../engine/types.js';
import { onePass, seconds, spread, warmUpRounds } from './figures.js';
import { MEANINGS, type BenchOptimization } from './optimizations.js';
import type { CellOptions } from './options.js';
import type { Ablation, Cell } from './report.js';
import { ScanTimer } from './stages.js';
import { twoConditions, type Subject } from './subject.js';

/** An engine as bench times it, tuned, with these optimizations disabled. */
export function benchEngine(
  disable: readonly BenchOptimization[],
  { device, threads = 0 }: Pick<CellOptions, 'device' | 'threads'>,
  dtype: Dtype,
): Engine {
  return new Engine({
    device,
    dtype,
    threads,
    tune: !disable.includes('tune'),
    disable: disable.filter((name): name is Optimization => name !== 'tune'),
  });
}

/**
 * Measures those of `names` that apply here, each beside an engine of its own, after a control: a second engine with none disabled.
 *
 * @param whole the engine with all optimizations, loaded and warm
 */
export async function ablate(
  names: readonly BenchOptimization[],
  cell: Cell,
  whole: { engine: Engine; conditions: Conditions },
  subject: Subject,
  options: CellOptions,
  call: CallOptions,
): Promise<Ablation[]> {
  const { device, disable = [], stages = true, repeats } = options;
  const { vae, ...others } = subject.source;
  const pass = onePass(cell);
  const results: Ablation[] = [];
  const meant = names.filter((name) => {
    const { on, dtypes } = MEANINGS[name];
    return !disable.includes(name) && (!on || device.startsWith(on)) && (!dtypes || dtypes.includes(cell.dtype));
  });
  if (meant.length === 0) return results;
  for (const optimization of ['none', ...meant] as const) {
    const scansAlone = optimization !== 'none' && MEANINGS[optimization].scansAlone;
    if (scansAlone && !stages) {
      results.push({ optimization, skipped: 'it has an effect only in scoring calls, which --no-stages skips' });
      continue;
    }
    const engine = benchEngine(optimization === 'none' ? disable : [...disable, optimization], options, cell.dtype);
    try {
      await engine.loadModel({ ...others, ...(vae && stages ? { vae } : {}) }, call);
      const conditions = await engine.prepareConditions(twoConditions(subject), call);
      const sides = [whole, { engine, conditions }].map((side) => ({
        ...side,
        scan: stages ? new ScanTimer(side.engine, side.conditions, cell, device) : undefined,
        pass: NaN,
        call: NaN,
      }));
      const gains = { pass: [] as number[], scan: [] as number[] };
      for (let round = 0; round < warmUpRounds(device) + repeats; round++) {
        // Each side is first in every other round.
        for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
          if (!scansAlone) side.pass = await seconds(() => side.engine.unetForward(side.conditions, pass, call));
          if (side.scan) side.call = await side.scan.once(call);
        }
        if (round < warmUpRounds(device)) continue;
        const gain = (of: 'pass' | 'call'): number => (sides[1]?.[of] ?? NaN) / (sides[0]?.[of] ?? NaN);
        if (!scansAlone) gains.pass.push(gain('pass'));
        if (stages) gains.scan.push(gain('call'));
      }
      results.push({
        optimization,
        ...(gains.pass.length > 0 ? { pass: spread(gains.pass) } : {}),
        ...(gains.scan.length > 0 ? { scan: spread(gains.scan) } : {}),
      });
    } catch (thrown) {
      const error = asDiffmineError(thrown);
      if (error.code !== 'OUT_OF_MEMORY') throw error;
      results.push({ optimization, skipped: `not enough memory for a second engine (${error.message})` });
    } finally {
      await engine.dispose();
    }
  }
  return results;
}
