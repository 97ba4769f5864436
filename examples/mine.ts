// Mines a dataset with a model, and writes the best patches of each label as CSV, to stdout:
//   node mine.js DATASET MODEL OUT [SAMPLES] > patches.csv
// Interrupt it with Ctrl-C; run it again to resume.
import { DiffmineError, mine, Run, scan, writeReport } from 'diffmine';

const [dataset, model, out, samples = '100'] = process.argv.slice(2);
if (dataset === undefined || model === undefined || out === undefined) {
  console.error('Usage: node mine.js DATASET MODEL OUT [SAMPLES]');
  process.exit(2);
}

const cancel = new AbortController();
process.once('SIGINT', () => {
  cancel.abort();
});
const hooks = { signal: cancel.signal, onLog: (sentence: string) => console.error(sentence) };

try {
  const scanned = await scan(
    { dataset, model, out, samples: Number(samples), patch: 16, size: 'source' },
    {
      ...hooks,
      onProgress: (event) => {
        if (event.type === 'unetCalls') process.stderr.write(`\r${event.done} of ${event.total} UNet calls`);
      },
    },
  );
  console.error(`\n${scanned.scored} images scored, ${scanned.skipped} skipped`);
  await mine({ run: out, clusters: 4 }, hooks);
  const report = await writeReport({ run: out }, hooks);
  console.error(`report: ${report.path}`);

  const run = await Run.open(out);
  console.log('label,rank,image,x,y,width,height,typicality');
  for await (const { condition, rank, image, x, y, width, height, typicality } of run.patches({
    list: 'top',
    limit: 3,
  }))
    console.log([condition, rank, image, x, y, width, height, typicality].join(','));
} catch (error) {
  if (!(error instanceof DiffmineError)) throw error;
  console.error(`${error.code}: ${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`);
  process.exitCode = error.exitCode;
}
