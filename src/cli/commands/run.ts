// run: scan, mine and report in one.
import { command } from '../command.js';
import { MINE, OUT, REPORT, SCAN } from '../options.js';
import { defined, mineOptions, onMine, onScan, scanOptions, scanWork } from '../stages.js';
import { mineText } from './mine.js';
import { requireScores, RESUME_HINT, scanText } from './scan.js';

export const runCommand = command({
  name: 'run',
  describe: 'Scan, mine and report in one command',
  native: true,
  options: { ...SCAN, ...OUT, ...MINE, 'control-patches': REPORT['control-patches'], title: REPORT.title },
  examples: [
    [
      'diffmine run photos --model sd15 --out run --prompt "A car from the {label}s." --null-prompt "A car."',
      'One folder of photos per decade',
    ],
  ],
  resumeHint: RESUME_HINT,
  async handle(values, { output, signal }) {
    const onLog = (line: string): void => output.log(line);
    const { checkMining, mine } = await import('../../stages/mine/mine.js');
    const { openModel } = await import('../../models/index.js');
    checkMining(mineOptions(values), (await openModel(values.model, defined({ variant: values.variant }))).source);
    const { scan } = await import('../../stages/scan/scan.js');
    const scanned = await scan(
      { ...scanOptions(values), ...scanWork(values) },
      { signal, onProgress: onScan(output), onLog },
    );
    output.log(scanText(scanned));
    requireScores(scanned);
    const { threads, devices } = values;
    const device = devices?.[0] ?? values.device;
    const mined = await mine(
      values.out,
      {
        ...mineOptions(values),
        ...defined({ model: values.model, variant: values.variant, dataset: values.dataset, device, threads }),
      },
      { signal, onProgress: onMine(output), onLog },
    );
    for (const note of mined.notes) output.log(note);
    output.log(mineText(mined));
    const { writeReport } = await import('../../stages/report/report.js');
    const report = await writeReport(
      values.out,
      defined({ controlPatches: values['control-patches'], title: values.title }),
      {
        signal,
        onProgress: output.progress,
        onLog,
      },
    );
    return { text: report.path, json: { scan: scanned, mine: mined, report } };
  },
});
