// What a report is asked for.
import type { z } from 'zod';
import * as fields from '../../options/fields.js';
import { option, optionsOf } from '../../options/option.js';
import { MOVED_DATASET } from '../../options/shared.js';

export const REPORT = optionsOf('report', {
  dataset: MOVED_DATASET,
  controlPatches: option(fields.whole(0, 10_000).default(100), {
    group: 'Output',
    description: 'Patches to show of each list that was not clustered',
  }),
  mapPatches: option(fields.whole(0, 65_000).default(20_000), {
    group: 'Output',
    description: 'Patches on the map, at most; 0 leaves it out',
  }),
  imagePages: option(fields.whole(0, 100_000).default(100), {
    group: 'Output',
    description: 'With a scan of `allLabels`: images per label that are shown with the map of every label',
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
