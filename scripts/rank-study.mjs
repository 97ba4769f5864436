// Does a lower dtype keep the ranking? Compares two finished scans of the same images:
//   node scripts/rank-study.mjs RUN_A RUN_B [--top 50] [--json]
// RUN_A is the reference (fp32), RUN_B has the lower dtype. docs/results/reduced-precision.md explains the columns of the tables.
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { fail, root } from './steps.mjs';

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { top: { type: 'string', default: '50' }, json: { type: 'boolean', default: false } },
  });
  const top = Number(values.top);
  if (positionals.length !== 2 || !Number.isSafeInteger(top) || top < 1)
    throw new Error('Usage: node scripts/rank-study.mjs RUN_A RUN_B [--top 50] [--json]');
  const load = createRequire(import.meta.url);
  const { rankStudy } = load(path.join(root, 'dist/tools/bench/ranking.js'));
  const study = await rankStudy(positionals[0], positionals[1], top);
  if (values.json) {
    process.stdout.write(`${JSON.stringify(study)}\n`);
    return;
  }
  const { table } = load(path.join(root, 'dist/cli/output.js'));
  const number = (value) => value.toFixed(5);
  const rows = study.labels.map((one) => [
    one.label,
    String(one.images),
    number(one.imageCorrelation),
    `${one.matched} of ${one.candidates}`,
    String(one.same),
    number(one.candidateCorrelation),
    one.change.toFixed(4),
    `${one.kept} of ${one.top}`,
    String(one.largestFall),
    one.firstLost === null ? '' : String(one.firstLost),
    String(one.unmatched),
  ]);
  process.stdout.write(`${study.dtypes.join(' and ')}, ${study.samples} samples\n`);
  process.stdout.write(
    `${table(['label', 'images', 'Spearman', 'patches matched', 'same box', 'Spearman', 'change', 'top kept', 'largest fall', 'first lost', 'unmatched'], rows, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])}\n`,
  );
  process.stdout.write(
    `mean: images ${number(study.imageCorrelation)}, patches ${number(study.candidateCorrelation)}, ${(100 * study.overlap).toFixed(1)} % of the top kept; largest fall ${study.largestFall}\n`,
  );
}

main().catch(fail);
