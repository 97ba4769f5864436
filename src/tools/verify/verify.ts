// verify: recomputes every golden case and reports its error against the reference.
import { significant } from '../../web/html.js';
import { existsSync } from 'node:fs';

import { DiffmineError, asDiffmineError } from '../../util/errors.js';
import { openModel, type ModelFolder } from '../../models/index.js';
import { Engine } from '../../engine/index.js';
import { resolved } from '../../options/check.js';
import type { EngineOptions, Dtype, Tensor } from '../../engine/types.js';
import { chooseDevice } from '../../runs/device.js';
import { COMPOUND, compareRelativeL2, compareTensors, type Comparison, RELATIVE_L2 } from './compare.js';
import { findGoldens, type Golden, type GoldenCase } from './golden.js';
import { OPS } from './ops.js';
import { VERIFY, type VerifyOptions } from './options.js';
import type { Op, OpContext, OpResult } from './ops/op.js';
import type { Hooks, Progress } from '../../util/hooks.js';

export type { VerifyOptions } from './options.js';

export type VerifyEvent = Progress<'verify'>;

export type Verdict = 'passed' | 'failed' | 'not checked';

export interface CaseResult {
  /** folder of the manifest, relative to the one given */
  manifest: string;
  id: string;
  op: string;
  verdict: Verdict;
  /** of the output that comes nearest to its bound, or exceeds it most; null if nothing was compared or the result is not a number */
  worst: { output: string; error: number | null; fraction: number | null } | null;
  /** why it failed or was not checked */
  message?: string;
}

export interface OpSummary {
  op: string;
  cases: number;
  passed: number;
  failed: number;
  notChecked: number;
  worst: CaseResult['worst'];
  verdict: Verdict;
}

export interface VerifySummary {
  folder: string;
  device: string;
  dtype: Dtype;
  manifests: number;
  passed: number;
  failed: number;
  notChecked: number;
  ops: OpSummary[];
  cases: CaseResult[];
}

/**
 * Runs every case of every diffmine-golden-1 manifest at or below `folder`.
 * A case that throws is a failed case with its message; an op nobody knows is not checked.
 * @throws DiffmineError INVALID_ARGUMENT (no manifest there), SETUP or DEVICE_UNAVAILABLE (no engine), CANCELLED
 */
export async function verify(
  { folder, ...options }: VerifyOptions,
  hooks: Hooks<VerifyEvent> = {},
): Promise<VerifySummary> {
  const goldens = findGoldens(folder);
  const { device: wanted, dtype: chosen, threads = 0 } = resolved(VERIFY, options);
  const dtype = chosen === 'auto' ? 'fp32' : chosen;
  const device = chooseDevice(wanted, dtype);
  if (wanted === 'auto') hooks.onLog?.(`Device: ${device.id} (${device.name}).`);
  const machine = new Machine({ device: device.id, dtype, threads }, hooks);
  const cases: CaseResult[] = [];
  const total = goldens.reduce((sum, golden) => sum + golden.cases.length, 0);
  try {
    await machine.engine(undefined);
    for (const golden of goldens) {
      for (const one of golden.cases) {
        if (hooks.signal?.aborted) throw new DiffmineError('CANCELLED', 'The verification was cancelled.');
        cases.push(await runCase(golden, one, machine, dtype, hooks));
        hooks.onProgress?.({ type: 'verify', done: cases.length, total });
      }
    }
  } finally {
    await machine.dispose();
  }
  const count = (verdict: Verdict): number => cases.filter((one) => one.verdict === verdict).length;
  return {
    folder,
    device: device.id,
    dtype,
    manifests: goldens.length,
    passed: count('passed'),
    failed: count('failed'),
    notChecked: count('not checked'),
    ops: summarise(cases),
    cases,
  };
}

/** The engine, with at most one model at a time: cases of one model come together. */
class Machine {
  private current: { path: string | undefined; engine: Engine; folder?: ModelFolder } | undefined;

  constructor(
    private readonly options: EngineOptions,
    private readonly hooks: Hooks<VerifyEvent>,
  ) {}

  async engine(path: string | undefined): Promise<Engine> {
    return (await this.open(path)).engine;
  }

  async model(path: string | undefined): Promise<ModelFolder> {
    const { folder } = await this.open(path);
    if (!folder) throw new DiffmineError('CHECK_FAILED', 'The case has no model.');
    return folder;
  }

  private async open(path: string | undefined): Promise<NonNullable<Machine['current']>> {
    if (this.current?.path === path && this.current) return this.current;
    await this.dispose();
    const folder = path === undefined ? undefined : await openModel(path);
    const engine = new Engine(this.options);
    this.current = { path, engine, ...(folder ? { folder } : {}) };
    if (folder) await engine.loadModel(folder.source, { signal: this.hooks.signal });
    return this.current;
  }

  async dispose(): Promise<void> {
    const { current } = this;
    this.current = undefined;
    await current?.engine.dispose();
  }
}

async function runCase(
  golden: Golden,
  one: GoldenCase,
  machine: Machine,
  dtype: Dtype,
  hooks: Hooks<VerifyEvent>,
): Promise<CaseResult> {
  const base = { manifest: golden.name, id: one.id, op: one.op };
  const op = OPS.get(one.op);
  if (!op) return { ...base, verdict: 'not checked', worst: null, message: 'not an op that verify computes' };
  try {
    const result = await op.run(contextOf(golden, one, op, machine, dtype, hooks));
    if (result.notChecked !== undefined)
      return { ...base, verdict: 'not checked', worst: null, message: result.notChecked };
    return { ...base, ...judge(golden, one, op, result, dtype) };
  } catch (thrown) {
    const error = asDiffmineError(thrown);
    if (error.code === 'CANCELLED') throw error;
    return { ...base, verdict: 'failed', worst: null, message: `${error.code}: ${error.message}` };
  }
}

function contextOf(
  golden: Golden,
  one: GoldenCase,
  op: Op,
  machine: Machine,
  dtype: Dtype,
  hooks: Hooks<VerifyEvent>,
): OpContext {
  const path = golden.modelPath(one);
  const named = (names: Record<string, string>, name: string): Tensor => {
    const tensor = names[name];
    if (tensor === undefined) throw new DiffmineError('CHECK_FAILED', `The case has no tensor "${name}".`);
    return golden.tensor(tensor);
  };
  const present = (): string | undefined => {
    if (path !== undefined && !existsSync(path))
      throw new DiffmineError('CHECK_FAILED', `The model ${path} is missing.`);
    return path;
  };
  return {
    dtype,
    call: { signal: hooks.signal },
    params: one.params,
    shared: (name) => [one, ...golden.cases].find(({ params }) => params[name] !== undefined)?.params[name],
    outputs: Object.keys(one.outputs),
    input: (name) => named(one.inputs, name),
    reference: (name) => named(one.outputs, name),
    engine: () => machine.engine(present()),
    model: () => machine.model(present()),
    schedule: async () => (await machine.model(present())).source.schedule,
    compare: (got, reference) => compare(got, reference, one, op, dtype),
  };
}

/** Whole numbers and everything computed outside the model keep the case's own tolerance in any precision. */
function compare(got: Tensor, reference: Tensor, one: GoldenCase, op: Op, dtype: Dtype): Comparison {
  if (dtype === 'fp32' || !op.reducible || reference.dtype === 'I64' || one.tolerance.exact)
    return compareTensors(got, reference, one.tolerance);
  return compareRelativeL2(got, reference, RELATIVE_L2[dtype] * (op.compound ? COMPOUND : 1));
}

function judge(
  golden: Golden,
  one: GoldenCase,
  op: Op,
  result: OpResult,
  dtype: Dtype,
): Pick<CaseResult, 'verdict' | 'worst' | 'message'> {
  const judged = Object.entries(result.judged ?? {});
  for (const [name, tensor] of Object.entries(one.outputs)) {
    if (result.judged?.[name]) continue;
    const got = result.outputs?.[name];
    judged.push([
      name,
      got
        ? compare(got, golden.tensor(tensor), one, op, dtype)
        : { passed: false, error: Infinity, fraction: Infinity, message: 'was not computed' },
    ]);
  }
  let worst: [string, Comparison] | undefined;
  for (const one of judged) if (!worst || one[1].fraction > worst[1].fraction) worst = one;
  if (!worst) return { verdict: 'not checked', worst: null, message: 'the case has no outputs' };
  const failures = judged.filter(([, comparison]) => !comparison.passed);
  return {
    verdict: failures.length > 0 ? 'failed' : 'passed',
    worst: { output: worst[0], error: finite(worst[1].error), fraction: finite(worst[1].fraction) },
    ...(failures.length > 0
      ? {
          message: failures
            .map(
              ([name, { message, fraction }]) =>
                `${name}: ${message ?? `${significant(fraction, 3)} x what is allowed`}`,
            )
            .join('; '),
        }
      : {}),
  };
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function summarise(cases: CaseResult[]): OpSummary[] {
  const ops = new Map<string, CaseResult[]>();
  for (const one of cases) ops.set(one.op, [...(ops.get(one.op) ?? []), one]);
  return [...ops].map(([op, own]) => {
    const count = (verdict: Verdict): number => own.filter((one) => one.verdict === verdict).length;
    const [passed, failed, notChecked] = [count('passed'), count('failed'), count('not checked')];
    const compared = own
      .flatMap(({ worst }) => (worst ? [worst] : []))
      .sort((a, b) => (b.fraction ?? Infinity) - (a.fraction ?? Infinity));
    return {
      op,
      cases: own.length,
      passed,
      failed,
      notChecked,
      worst: compared[0] ?? null,
      verdict: failed > 0 ? 'failed' : passed > 0 ? 'passed' : 'not checked',
    };
  });
}
