// The closing sentences of commands: true for work that was done, resumed, reused, skipped, or nothing at all.
import type { Learned } from '../../src/models/training.js';
import { closing, state } from '../../src/cli/closing.js';
import { cotypicalityText } from '../../src/cli/commands/cotypicality.js';
import { localizeText } from '../../src/cli/commands/localize.js';
import { mineText } from '../../src/cli/commands/mine.js';
import { sampleText } from '../../src/cli/commands/sample.js';
import { scanText } from '../../src/cli/commands/scan.js';
import { trainText } from '../../src/cli/commands/train.js';
import { translateText } from '../../src/cli/commands/translate.js';
import type { CotypicalitySummary } from '../../src/stages/cotypicality/options.js';
import type { LocalizeSummary } from '../../src/stages/localize/options.js';
import type { MineSummary } from '../../src/stages/mine/options.js';
import type { SampleSummary } from '../../src/stages/sample/sample.js';
import type { ScanSummary } from '../../src/stages/scan/options.js';
import type { TrainSettings, TrainSummary } from '../../src/stages/train/options.js';
import type { TranslateSummary } from '../../src/stages/translate/options.js';

describe('sharded work', () => {
  const base = {
    verb: 'Translated',
    noun: 'image',
    done: 180,
    total: 180,
    skipped: 0,
    shards: { total: 3, done: 3, here: 3 },
    seconds: 75,
  };
  test.each([
    ['all of it here', {}, 'Translated 180 of 180 images in 1 min 15 s.'],
    [
      'reused: no time is claimed',
      { shards: { total: 3, done: 3, here: 0 }, seconds: 0.2 },
      'Nothing left to do here: 180 of 180 images were translated before.',
    ],
    [
      'resumed: the time is that of the shards done here',
      { shards: { total: 3, done: 3, here: 1 }, seconds: 20 },
      'Translated 1 of 3 shards in 20 s. In total: 180 of 180 images.',
    ],
    [
      'one image',
      { done: 1, total: 1, shards: { total: 1, done: 1, here: 1 }, seconds: 0.4 },
      'Translated 1 of 1 image in under a second.',
    ],
    ['skipped', { done: 0, total: 2, skipped: 2 }, 'Translated 0 of 2 images (2 skipped) in 1 min 15 s.'],
    [
      'nothing left of a part',
      { done: 64, shards: { total: 3, done: 1, here: 0 } },
      'Nothing left to do here: 64 of 180 images were translated before.',
    ],
  ])('%s', (_name, more, expected) => {
    expect(closing({ ...base, ...more })).toBe(expected);
  });

  test('how far it is', () => {
    expect(state('translation', true, base.shards, '/out')).toBe('The translation is complete: /out');
    expect(state('translation', false, { total: 3, done: 1, here: 1 }, '/out')).toBe('1 of 3 shards is finished: /out');
  });

  test('translate counts translations, and reconstructions only where there are any', () => {
    const summary = {
      translated: 4,
      translations: 8,
      images: 5,
      skipped: 1,
      psnr: 31.24,
      complete: true,
      shards: { total: 3, done: 3, here: 3 },
      seconds: 3,
      path: '/out',
      page: '/out/index.html',
    } as TranslateSummary;
    expect(translateText(summary)).toBe(
      'Translated 4 of 5 images (1 skipped) in 3 s.\n8 translations; mean PSNR of the reconstructions 31.2 dB.\nThe translation is complete: /out\n/out/index.html',
    );
    expect(translateText({ ...summary, translated: 1, translations: 1, psnr: null })).toContain('\n1 translation.\n');
    expect(translateText({ ...summary, translated: 0, translations: 0, psnr: null })).not.toContain('translations');
  });

  test('scan claims no time for a run that was complete', () => {
    const summary = {
      scored: 179,
      images: 180,
      labels: ['a'],
      skipped: 1,
      shards: { total: 3, done: 3, here: 0 },
      seconds: 0.3,
      complete: true,
      path: '/run',
    } as unknown as ScanSummary;
    expect(scanText(summary)).toBe(
      'Nothing left to do here: 179 of 180 images (1 skipped) were scored before.\nThe scan is complete: /run',
    );
    expect(scanText({ ...summary, shards: { total: 3, done: 3, here: 3 } })).toBe(
      'Scored 179 of 180 images (1 skipped) in under a second.\nThe scan is complete: /run',
    );
    expect(
      scanText({ ...summary, scored: 64, skipped: 0, complete: false, shards: { total: 3, done: 1, here: 0 } }),
    ).toContain('\n1 of 3 shards is finished: /run');
  });

  test('scan says how long engines waited where it is worth knowing', () => {
    const summary = { scored: 9, images: 9, skipped: 0, shards: { total: 1, done: 1, here: 1 }, complete: true };
    const textOf = (more: object): string => scanText({ ...summary, path: '/run', ...more } as unknown as ScanSummary);
    expect(textOf({ seconds: 1000, engineWaiting: 0.25 })).toContain(
      '\nThe engine had nothing to do for 25 % of the time',
    );
    for (const little of [
      { seconds: 100, engineWaiting: 0.25 },
      { seconds: 10_000, engineWaiting: 0.05 },
      { seconds: 1000 },
    ])
      expect(textOf(little)).not.toContain('nothing to do');
  });

  test('cotypicality numbers clusters as its tables do', () => {
    const cluster = { size: 3, sequences: 2, medianCotypicality: 0.01, mostChanged: null };
    const summary = {
      scored: 3,
      sequences: 3,
      labels: ['a', 'b'],
      skipped: 0,
      shards: { total: 1, done: 1, here: 0 },
      path: '/run',
      seconds: 1,
      complete: true,
      clusters: [cluster, cluster],
      places: 6,
      truth: null,
      page: '/run/report/index.html',
    } as unknown as CotypicalitySummary;
    const text = cotypicalityText(summary);
    expect(
      text
        .split('\n')
        .slice(2, 4)
        .map((line) => line.trim().split(/\s+/)[0]),
    ).toEqual(['0', '1']);
    expect(text).toContain('Nothing left to do here: 3 of 3 sequences were scored before.');
    expect(text).toContain('6 places of 2 labels in 2 clusters.\nConsistent changes: /run/report/index.html');
  });
});

test('sample tells new images from those that were there', () => {
  const summary = {
    made: 4,
    kept: 0,
    labels: [{ label: 'a' }, { label: 'b' }],
    seconds: 2,
    grid: 'grid.png',
  } as unknown as SampleSummary;
  expect(sampleText(summary)).toBe('Sampled 4 images of 2 labels in 2 s.\ngrid.png');
  expect(sampleText({ ...summary, made: 1, kept: 1, labels: summary.labels.slice(0, 1) })).toBe(
    'Sampled 1 image of the label a (1 more was there before) in 2 s.\ngrid.png',
  );
  expect(sampleText({ ...summary, made: 0, kept: 4 })).toBe(
    'Nothing left to do: 4 images of 2 labels were there before.\ngrid.png',
  );
});

test('mine names the list that it clustered, and claims no time for what was there', () => {
  const summary: MineSummary = {
    path: '/run',
    rank: 'bottom',
    conditions: [
      {
        condition: 'a',
        patches: 20,
        clusters: 3,
        inertia: 1,
        images: { count: 12, effective: 12 },
        groups: null,
        dropped: { duplicates: 0, contrast: 0, groups: 0 },
      },
    ],
    images: 4,
    seconds: 3,
    reused: false,
    clusters: 32,
    reusedFeatures: 0,
    trends: null,
    notes: [],
  };
  expect(mineText(summary)).toContain('Clustered 20 lowest-typicality patches of 1 label, from 4 images, in 3 s: /run');
  expect(mineText({ ...summary, rank: 'random', reused: true })).toContain(
    'Already mined with these options (20 random patches of 1 label): /run',
  );
});

test('train counts in the singular, too', () => {
  const summary: TrainSummary = {
    path: '/m',
    steps: 1,
    loss: null,
    validation: [],
    best: null,
    step: 1,
    images: 1,
    skipped: 0,
    labels: [
      { label: 'a', training: 1, heldOut: 4 },
      { label: 'b', training: 1, heldOut: 0 },
    ],
    seconds: 61,
    page: '/m/train-report.html',
    learned: null,
    settings: { dataset: "/it's here", prompt: 'A {label}.', nullPrompt: '', drop: 0, size: 512 } as TrainSettings,
  };
  expect(trainText(summary)).toBe(
    [
      'Trained for 1 step on 1 image in 1 min 1 s.',
      'Model (weights of step 1): /m',
      'Report: /m/train-report.html',
      '',
      'No image is held out, or there is one label alone: what the model has learned was not measured.',
      '',
      `Next: npx diffmine run '/it'\\''s here' --model /m --prompt 'A {label}.' --against others --out /m-run`,
    ].join('\n'),
  );
  const small = { ...summary, settings: { ...summary.settings, size: 64 } };
  expect(trainText(small)).toContain(' --patch 16 --out /m-run');
  const measured = { images: 4, loss: 0.5, others: 0.6, helped: 0.75 };
  const learned: Learned = {
    verdict: 'no',
    step: 1,
    samples: 8,
    lossRatio: 0.9,
    ...measured,
    labels: [{ label: 'a', ...measured }],
  };
  const text = trainText({ ...summary, learned });
  expect(text).toContain('with other labels 0.6000; the label helps 75 % of the images (chance: 50 %).');
  expect(text).toContain('has not learned its labels');
  expect(text).toContain(
    'Enough is a label that helps 75 % of the images, and a loss that has leveled off. Train longer, or on more images.',
  );
  expect(text).toContain('No image is held out of "b": what the model has learned of it was not measured.');
  expect(text).toContain('Next: npx diffmine train --out /m --steps 2');
  // the validation loss rose: more steps would make it worse
  const validation = [0.5, 0.3, 0.4].map((loss, i) => ({ step: i + 1, loss }));
  const risen = trainText({ ...summary, step: 3, steps: 3, validation, learned: { ...learned, step: 3 } });
  expect(risen).toContain('The validation loss was lowest after step 2 (0.3000) and rose to 0.4000');
  expect(risen).toContain('The weights of step 2 are better: --use best writes them.');
  expect(risen).not.toContain('Train longer');
  expect(risen).toContain('Next: npx diffmine train --out /m --use best');
  const chosen = trainText({ ...summary, step: 2, steps: 3, validation, learned: { ...learned, step: 2 } });
  expect(chosen).not.toMatch(/are better|Train longer/);
  expect(chosen).toContain('Next: npx diffmine run ');
});

test.each([
  ['null', 'no label'],
  ['others', 'the other labels'],
  ['A', '“A”'],
])('localize --against %s says so', (against, words) => {
  const scan = {
    scored: 1,
    images: 1,
    labels: ['a'],
    skipped: 0,
    seconds: 1,
    complete: true,
    path: '/run',
    shards: { total: 1, done: 1, here: 1 },
  };
  const result = { labels: [], mean: {}, boxes: null, options: { against, blur: 0, bootstrap: 0, seed: 0 } };
  expect(localizeText({ scan, baseline: null, result, page: '/page' } as unknown as LocalizeSummary)).toContain(
    `Maps of typicality against ${words}: /page`,
  );
});
