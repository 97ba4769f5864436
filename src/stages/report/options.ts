// Options of a report.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MOVED_DATASET } from '../../options/shared.js';

export const REPORT = optionsOf('report', {
  dataset: MOVED_DATASET,
  controlPatches: option(fields.whole(0, 10_000).default(100), {
    group: 'Output',
    description: 'Patches per label to show of each ranking that was not clustered',
  }),
  mapPatches: option(fields.whole(0, 65_000).default(20_000), {
    group: 'Output',
    description: 'Maximum patches on the map page; 0 leaves the page out',
  }),
  imagePages: option(fields.whole(0, 100_000).default(100), {
    group: 'Output',
    description: 'After a scan with `allLabels`: images per label to show with their typicality map under every label',
  }),
  out: option(fields.path().optional(), {
    group: 'Output',
    description: 'Directory to write the report to; new, empty, or an earlier report',
    shown: 'RUN/report',
  }),
  title: option(fields.text().optional(), {
    group: 'Output',
    description: "The report's heading",
    shown: "the dataset's name",
  }),
});

export interface ReportOptions extends z.input<typeof REPORT> {
  /** a run that `mine` has finished */
  run: string;
}
