// What `scan --race` saves and misses as users run it (docs/results/estimator.md, "Racing whole scans"): an exact scan and a race for each K.
//
//     node scripts/race-scan.mjs DATASET --model MODEL --out FOLDER --top 83,200,400 [--samples 32] [--against null] [--patch 12]
//       [--t-range 0.05,0.4] [--workers 2] [--threads 1] [--race-risk 0.01] [--turn 30] [--race-turn 11]
//
// Prints, per race and label: UNet calls and wall time beside the exact scan's, and how much of its top K the race found. A scan that is finished is
// not repeated: its wall time is kept in FOLDER/scans.json. One that was interrupted has to begin again, as its wall time is lost.
//
// A machine's speed changes by the minute. Therefore the scans take turns: one of them runs, the others are stopped, and the time that each ran is its
// wall time. The exact scan has --turn seconds and a race --race-turn, so that both end at about the same time.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Run } from '../dist/index.js';
import { readTable } from '../dist/runs/tables.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string' },
    out: { type: 'string' },
    top: { type: 'string', default: '50' },
    samples: { type: 'string', default: '32' },
    against: { type: 'string', default: 'null' },
    patch: { type: 'string', default: '12' },
    't-range': { type: 'string', default: '0.05,0.4' },
    workers: { type: 'string', default: '1' },
    threads: { type: 'string' },
    'race-risk': { type: 'string', default: '0.01' },
    turn: { type: 'string', default: '30' },
    'race-turn': { type: 'string', default: '11' },
  },
});
const [dataset] = positionals;
if (!dataset || !values.model || !values.out) throw new Error('Give a dataset, --model and --out.');
const out = values.out;
const tops = values.top.split(',').map(Number);
mkdirSync(out, { recursive: true });
const file = join(out, 'scans.json');
const scans = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};

// The scans end with this program, also those that are stopped.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

/** Starts a scan into FOLDER/name, stopped. @returns { name, seconds, code, run }: `run()` lets it run for its turn */
function begin(name, turn, more) {
  if (existsSync(join(out, name)))
    throw new Error(`${join(out, name)} was interrupted, and its wall time is not known. Remove it.`);
  const args = ['scan', dataset, '--model', values.model, '--out', join(out, name), '--samples', values.samples];
  args.push('--against', values.against, '--patch', values.patch, '--t-range', values['t-range']);
  args.push('--workers', values.workers, ...(values.threads ? ['--threads', values.threads] : []), ...more);
  const program = fileURLToPath(new URL('../bin/diffmine.js', import.meta.url));
  // detached: signals reach its workers as well
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'ignore', 'inherit'], detached: true });
  const signal = (which) => child.exitCode === null && child.signalCode === null && process.kill(-child.pid, which);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  process.once('exit', () => signal('SIGKILL'));
  signal('SIGSTOP');
  const scan = { name, seconds: 0, code: undefined };
  void ended.then((code) => (scan.code = code));
  scan.run = async () => {
    const begun = performance.now();
    signal('SIGCONT');
    const wait = new AbortController();
    await Promise.race([ended, setTimeout(1000 * turn, undefined, { signal: wait.signal }).catch(() => {})]);
    wait.abort();
    signal('SIGSTOP');
    scan.seconds += (performance.now() - begun) / 1000;
  };
  return scan;
}

/** Runs the scans by turns until all have ended. */
async function finish(running) {
  while (running.length > 0) {
    for (const scan of running) await scan.run();
    for (const { name, seconds, code } of running.filter((scan) => scan.code !== undefined)) {
      if (code !== 0) throw new Error(`The scan into ${join(out, name)} ended with code ${code}.`);
      scans[name] = { seconds };
      writeFileSync(file, `${JSON.stringify(scans, null, 1)}\n`);
    }
    running = running.filter((scan) => scan.code === undefined);
  }
}

/** The K best patches of each label with all N samples, as "image row column". */
async function ranked(name, top) {
  const run = await Run.open(join(out, name));
  const lists = new Map();
  for (const shard of await run.doneShards()) {
    for (const row of await readTable(run.shardFile(shard, 'patches.parquet'))) {
      if (row.list !== 'top' || row.samples !== Number(values.samples)) continue;
      if (!lists.has(row.condition)) lists.set(row.condition, []);
      lists.get(row.condition).push(row);
    }
  }
  return new Map(
    [...lists].map(([label, rows]) => [
      label,
      rows
        .sort((a, b) => b.typicality - a.typicality)
        .slice(0, top)
        .map(({ image, row, column }) => `${image} ${row} ${column}`),
    ]),
  );
}

const raceOf = (top) =>
  begin(`race-${top}`, Number(values['race-turn']), [
    '--race',
    '--top',
    String(top),
    '--race-risk',
    values['race-risk'],
  ]);
await finish([
  ...(scans.exact ? [] : [begin('exact', Number(values.turn), [])]),
  ...tops.filter((top) => !scans[`race-${top}`]).map(raceOf),
]);
const { exact } = scans;
console.log(`exact: ${exact.seconds.toFixed(0)} s`);
console.log('| K | label | UNet calls | wall time | missed, stated | missed, measured |');
console.log('|---|---|---|---|---|---|');
for (const top of tops) {
  const name = `race-${top}`;
  const race = scans[name];
  const [found, wanted] = [await ranked(name, top), await ranked('exact', top)];
  const record = JSON.parse(readFileSync(join(out, name, 'race.json'), 'utf8'));
  for (const { label, unetCalls } of record.labels) {
    const all = new Set(found.get(label));
    const missed = wanted.get(label).filter((patch) => !all.has(patch)).length;
    const { patches: stated } = record.missed.find(({ condition }) => condition === label);
    const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
    console.log(
      `| ${top} | ${label} | ${percent(unetCalls.spent, unetCalls.spent + unetCalls.saved)} | ${percent(race.seconds, exact.seconds)} | ${percent(stated, top)} | ${percent(missed, top)} |`,
    );
  }
}
