// Counts in messages: one image, two images.
import { benchText } from '../../src/cli/bench-text.js';
import { requireScores } from '../../src/cli/commands/scan.js';
import { learnedSentence } from '../../src/models/learned.js';
import { planProjection } from '../../src/stages/cotypicality/project.js';
import type { BenchReport } from '../../src/tools/bench/report.js';
import type { ScanSummary } from '../../src/stages/scan/options.js';

/** What a function says of n things; errors count as said. */
function said(say: () => string): string {
  try {
    return say();
  } catch (error) {
    return (error as Error).message;
  }
}

const asked = { projection: 'umap', dimensions: 4, neighbors: 3 } as const;
const learned = { loss: 1, others: 2, helped: 1, lossRatio: null } as const;

const SAYING: [string, (n: number) => string, string, string][] = [
  [
    'scan',
    (n) => {
      requireScores({ complete: true, scored: 0, images: n, path: 'run' } as ScanSummary);
      return '';
    },
    'None of 1 image could be scored.',
    'None of 2 images could be scored.',
  ],
  [
    'learned',
    (n) => learnedSentence({ ...learned, images: n } as Parameters<typeof learnedSentence>[0]),
    'On 1 held-out image,',
    'On 2 held-out images,',
  ],
  [
    'places',
    (n) => planProjection(n, 8, asked).notes.join(),
    '1 place is too few for UMAP: ',
    '2 places are too few for UMAP: ',
  ],
  [
    'bench',
    (n) =>
      benchText({
        model: 'm',
        device: 'cpu',
        machine: { processor: '', threads: n, cpuCapability: '', libtorch: '2' },
        cells: [],
        starts: [],
      } as unknown as BenchReport),
    '(1 thread,',
    '(2 threads,',
  ],
];

test.each(SAYING)('%s', (_name, say, one, two) => {
  expect(said(() => say(1))).toContain(one);
  expect(said(() => say(2))).toContain(two);
});
