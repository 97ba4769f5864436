// verify: recomputes golden values and compares.
import { EXIT_CODES } from '../../util/errors.js';
import type { OpSummary, VerifySummary } from '../../tools/verify/verify.js';
import { command } from '../command.js';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { VERIFY } from '../../tools/verify/options.js';
import { table } from '../output.js';

export function verifyText(summary: VerifySummary): string {
  const worst = ({ worst }: OpSummary): string[] => {
    if (!worst) return ['', '', ''];
    const number = (value: number | null): string =>
      value === null ? 'not a number' : value === 0 ? '0' : value.toExponential(1);
    return [number(worst.error), worst.fraction === null ? '' : worst.fraction.toFixed(2), worst.output];
  };
  const rows = summary.ops.map((op) => [
    op.op,
    String(op.cases),
    String(op.cases - op.notChecked),
    ...worst(op),
    op.verdict,
  ]);
  const failures = summary.cases
    .filter(({ verdict }) => verdict === 'failed')
    .map(({ manifest, id, message }) => `failed: ${manifest} ${id}: ${message ?? ''}`);
  const left = new Map<string, number>();
  for (const one of summary.cases)
    if (one.verdict === 'not checked')
      left.set(`${one.op}: ${one.message ?? ''}`, (left.get(`${one.op}: ${one.message ?? ''}`) ?? 0) + 1);
  return [
    table(['op', 'cases', 'checked', 'worst error', 'of allowed', 'in', 'verdict'], rows, [1, 2, 3, 4]),
    ...[...left].map(([why, count]) => `not checked: ${count} x ${why}`),
    ...failures,
    `${summary.passed} passed, ${summary.failed} failed, ${summary.notChecked} not checked (${summary.dtype} on ${summary.device}).`,
  ].join('\n');
}

export const verifyCommand = command({
  native: true,
  options: optionsOf('verify', {
    folder: option(fields.path(), {
      group: 'Input',
      description: 'Folder with diffmine-golden-1 manifests, at any depth',
    }),
    ...VERIFY.shape,
  }),
  async handle({ folder, ...options }, { output, signal }) {
    const { verify } = await import('../../tools/verify/verify.js');
    const summary = await verify(
      { folder, ...options },
      { signal, onProgress: output.progress, onLog: (line) => output.log(line) },
    );
    return { text: verifyText(summary), json: summary, exitCode: summary.failed > 0 ? EXIT_CODES.CHECK_FAILED : 0 };
  },
});
