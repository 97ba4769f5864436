// Compares a report with a baseline, cell by cell, by utilization of the machine's matmul rate: unlike times, utilization is comparable across
// cards and clocks. Medians decide; ranges show how reliable they are.
import { count as counted } from '../../web/html.js';
import { DiffmineError } from '../../util/errors.js';
import type { Spread } from './figures.js';
import { cellName, type BenchReport, type Cell } from './report.js';

/**
 * ok, faster (by more than the tolerance), regression (slower by more than that), lost (the baseline measured it, this run could not),
 * missing (in the baseline, not asked for now), new (not in the baseline).
 */
export type Verdict = 'ok' | 'faster' | 'regression' | 'lost' | 'missing' | 'new';

export interface Comparison {
  cell: string;
  /** pass: the UNet only; scan: images scored as in a scan */
  what: 'pass' | 'scan';
  before?: Spread;
  now?: Spread;
  /** ratio of the medians, now / before: below 1 is slower */
  ratio?: number;
  verdict: Verdict;
  /** the range of one of the two is wider than the tolerance on both sides: the verdict is uncertain */
  noisy: boolean;
}

export interface CompareReport {
  baseline: { version: string; created: string; processor: string };
  /** allowed loss as a fraction of the baseline */
  tolerance: number;
  comparisons: Comparison[];
  warnings: string[];
  /** no regression, nothing lost */
  passed: boolean;
}

/** A change of the machine's matmul rate by more than this fraction causes a warning, because utilization depends on that rate. */
const OTHER_RATE = 0.1;

const kind = (device: string): string => device.replace(/:.*/, '');
const sameCell = (a: Cell, b: Cell): boolean =>
  a.dtype === b.dtype && a.batch === b.batch && a.input.every((size, i) => size === b.input[i]);
const width = ({ median, min, max }: Spread): number => (max - min) / median;

/** The cells that will be asked for, known before anything is measured. */
export type Planned = Pick<BenchReport, 'model' | 'parameters' | 'device'> & {
  cells: Pick<Cell, 'dtype' | 'input' | 'batch' | 'operations'>[];
};

/**
 * Refuses a baseline that cannot be compared with this benchmark, before time is spent on it: another model, a CPU's for a GPU, not one cell in common, or
 * operations counted in another way, which would move every share.
 *
 * @throws INVALID_ARGUMENT that says what differs
 */
export function checkComparable(baseline: BenchReport, now: Planned): void {
  const differs = (what: string, before: string, here: string): never => {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `The baseline is not comparable: its ${what} is ${before}, here it is ${here}.`,
      'Use the same settings as the baseline, or measure a new one: diffmine bench --out FILE.',
    );
  };
  if (
    baseline.parameters !== now.parameters ||
    (baseline.model !== now.model && [baseline.model, now.model].some((model) => model.startsWith('synthetic:')))
  ) {
    differs('model', `${baseline.model} (${baseline.parameters} weights)`, `${now.model} (${now.parameters} weights)`);
  }
  if (kind(baseline.device) !== kind(now.device)) differs('device', kind(baseline.device), kind(now.device));
  if (!now.cells.some((cell) => baseline.cells.some((other) => other.measured && sameCell(other, cell as Cell)))) {
    const names = (cells: Planned['cells']): string => cells.map(cellName).join('; ') || 'none';
    differs('cells', names(baseline.cells.filter(({ measured }) => measured)), names(now.cells));
  }
  for (const cell of now.cells) {
    const before = baseline.cells.find((other) => sameCell(other, cell as Cell));
    if (before && before.operations !== cell.operations)
      differs(`count of operations (${cellName(cell)})`, String(before.operations), String(cell.operations));
  }
}

/**
 * Compares a report with a baseline.
 *
 * @param tolerance allowed loss as a fraction of the baseline's median: 0.05 for 5 %
 * @throws INVALID_ARGUMENT if checkComparable does
 */
export function compare(baseline: BenchReport, now: BenchReport, tolerance: number): CompareReport {
  checkComparable(baseline, now);
  const warnings: string[] = [];
  const comparisons: Comparison[] = [];
  const judge = (cell: Cell, what: Comparison['what'], before: Spread, after: Spread): void => {
    const ratio = after.median / before.median;
    const verdict = ratio < 1 - tolerance ? 'regression' : ratio > 1 + tolerance ? 'faster' : 'ok';
    comparisons.push({
      cell: cellName(cell),
      what,
      before,
      now: after,
      ratio,
      verdict,
      noisy: Math.max(width(before), width(after)) > 2 * tolerance,
    });
  };
  for (const cell of now.cells) {
    const before = baseline.cells.find((other) => sameCell(other, cell))?.measured;
    const after = cell.measured;
    if (before && after) {
      const rate = after.matmul.median / before.matmul.median;
      if (baseline.machine.processor === now.machine.processor && Math.abs(rate - 1) > OTHER_RATE) {
        warnings.push(
          `${cellName(cell)}: the machine's matmul rate is ${rate.toFixed(2)} times the baseline's (clocks, other load, or little free memory), so utilization is less certain.`,
        );
      }
      judge(cell, 'pass', before.utilization, after.utilization);
      if (before.scan && after.scan) judge(cell, 'scan', before.scan.utilization, after.scan.utilization);
      else if (before.scan)
        warnings.push(
          `${cellName(cell)}: the baseline has the utilization of the scan, this run does not (--no-stages).`,
        );
    } else if (before) {
      comparisons.push({
        cell: cellName(cell),
        what: 'pass',
        before: before.utilization,
        verdict: 'lost',
        noisy: false,
      });
      warnings.push(`${cellName(cell)} is in the baseline and could not be measured now: ${cell.skipped ?? ''}.`);
    } else if (after) {
      comparisons.push({ cell: cellName(cell), what: 'pass', now: after.utilization, verdict: 'new', noisy: false });
    }
  }
  for (const cell of baseline.cells) {
    if (!cell.measured || now.cells.some((other) => sameCell(other, cell))) continue;
    comparisons.push({
      cell: cellName(cell),
      what: 'pass',
      before: cell.measured.utilization,
      verdict: 'missing',
      noisy: false,
    });
    warnings.push(`${cellName(cell)} is in the baseline and was not requested now.`);
  }
  if (baseline.machine.processor !== now.machine.processor)
    warnings.push(
      `The baseline is of another machine (${baseline.machine.processor}): utilization is only roughly the same on different cards. Keep one baseline per kind of card.`,
    );
  if (baseline.machine.libtorch !== now.machine.libtorch)
    warnings.push(`The baseline ran with LibTorch ${baseline.machine.libtorch}, this is ${now.machine.libtorch}.`);
  const settings = ({ machine, settings: { disabled } }: BenchReport): string =>
    [
      disabled.length === 0 ? '' : `${disabled.join(',')} disabled`,
      machine.threads > 0 ? counted(machine.threads, 'thread') : '',
    ]
      .filter(Boolean)
      .join(', ') || 'defaults';
  if (settings(baseline) !== settings(now))
    warnings.push(`The baseline was measured with ${settings(baseline)}, this with ${settings(now)}.`);
  if (comparisons.some(({ noisy }) => noisy))
    warnings.push(
      'Cells marked noisy have a range wider than the tolerance: more `repeats`, locked clocks, or an idle machine.',
    );
  return {
    baseline: { version: baseline.version, created: baseline.created, processor: baseline.machine.processor },
    tolerance,
    comparisons,
    warnings,
    passed: comparisons.every(({ verdict }) => verdict !== 'regression' && verdict !== 'lost'),
  };
}
