// run: scan, mine and report in one.
import { given, partOf } from '../../options/check.js';
import { optionsOf } from '../../options/option.js';
import { MINING } from '../../options/scoring.js';
import { REPORT } from '../../stages/report/options.js';
import { SCAN } from '../../stages/scan/options.js';
import { command } from '../command.js';
import { DRY_RUN } from '../../options/shared.js';
import { dryRunHooks, scanPlanText } from '../dry-run.js';
import { onMine, onScan, stoppingOf } from '../stages.js';
import { mineText } from './mine.js';
import { requireScores, RESUME_HINT, scanText } from './scan.js';

/** `report` reads the dataset that the scan has read. */
const SHOWN = REPORT.omit({ dataset: true, out: true });

export const runCommand = command({
  native: true,
  options: optionsOf('run', {
    ...SCAN.omit({ shard: true }).shape,
    ...MINING.shape,
    ...SHOWN.shape,
    dryRun: DRY_RUN,
  }),
  examples: [
    [
      'diffmine run photos --model sd15 --out run --prompt "A photo from the {label}s." --null-prompt "A photo."',
      'One folder of photos per decade',
    ],
    [
      'diffmine run photos --model sd15 --out run --labels 1920,1980',
      'What distinguishes 1920 from 1980, and the other way round',
    ],
  ],
  resumeHint: RESUME_HINT,
  stopping: stoppingOf,
  async handle({ dryRun, ...values }, { output, signal }) {
    const onLog = (line: string): void => output.log(line);
    const { checkMining, mine } = await import('../../stages/mine/mine.js');
    const { openModel, modelOptions } = await import('../../models/index.js');
    const mining = partOf(MINING, values);
    checkMining(
      mining,
      (
        await openModel(values.model, modelOptions(values), {
          ...(dryRun ? dryRunHooks(output, signal) : { signal, onProgress: output.progress }),
          onLog: output.debug.bind(output),
        })
      ).source,
    );
    if (dryRun) {
      const { planScan } = await import('../../tools/estimate/dry-run.js');
      const writes = ['manifest.json', 'shards/', 'mine/', 'report/index.html'];
      const plan = await planScan(values, writes, { signal, onProgress: onScan(output), onLog });
      return { text: scanPlanText(plan), json: plan };
    }
    const { scan } = await import('../../stages/scan/scan.js');
    const scanned = await scan(given(SCAN, partOf(SCAN, values)), { signal, onProgress: onScan(output), onLog });
    output.log(scanText(scanned));
    requireScores(scanned);
    const { out, model, variant, dataset, imageRoot, threads, devices, device = 'auto' } = values;
    const mined = await mine(
      { run: out, ...mining, model, variant, dataset, imageRoot, device: devices?.[0] ?? device, threads },
      { signal, onProgress: onMine(output), onLog },
    );
    for (const note of mined.notes) output.log(note);
    output.log(mineText(mined));
    const { writeReport } = await import('../../stages/report/report.js');
    const report = await writeReport(
      { run: out, ...partOf(SHOWN, values) },
      { signal, onProgress: output.progress, onLog },
    );
    return { text: report.path, json: { scan: scanned, mine: mined, report } };
  },
});
