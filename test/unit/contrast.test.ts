// What pages and summaries say of a score: every sentence fits what was compared, with which model, over which samples.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createContext, runInContext } from 'node:vm';
import { evaluate } from '../../src/stages/evaluate/evaluate.js';
import {
  contrastWords,
  definition,
  imagesMeaning,
  mapEnds,
  mapMeaning,
  nullMeaning,
  patchesOf,
  reportLede,
  reportMethod,
  contrastOf,
  titleOf,
  type Contrast,
} from '../../src/runs/contrast-words.js';
import { writeReport } from '../../src/stages/report/report.js';
import { LISTS } from '../../src/runs/columns.js';
import { imageSchema, type ListName } from '../../src/runs/columns.js';
import { writeTable } from '../../src/runs/tables.js';
import { temporaryFolder } from '../helpers/folders.js';
import { drawImages, writeSyntheticRun, type SyntheticOptions, type SyntheticImage } from '../helpers/synthetic-run.js';

const BASE: Contrast = {
  conditioning: 'text',
  against: 'null',
  nullPrompt: 'A car.',
  samples: 100,
  sampler: 'stratified',
  replay: null,
  tBegin: 100,
  tEnd: 700,
};

/** Every way to score, with what must and must not be said of it. */
const ALL: [name: string, contrast: Contrast][] = ['null', 'others', '1920'].flatMap((against) =>
  (['text', 'class'] as const).flatMap((conditioning) =>
    [false, true].flatMap((allLabels) =>
      [false, true].flatMap((untrained) =>
        [1, 100].map((samples): [string, Contrast] => [
          `against ${against}, ${conditioning}${allLabels ? ', all labels' : ''}${untrained ? ', untrained' : ''}, N = ${samples}`,
          {
            ...BASE,
            against,
            conditioning,
            nullPrompt: conditioning === 'text' ? 'A car.' : null,
            allLabels,
            samples,
            ...(untrained ? { untrained } : {}),
          },
        ]),
      ),
    ),
  ),
);

/** All sentences that a report has of a contrast. */
function sentences(contrast: Contrast, rank: ListName): string {
  const { notice, standardErrors, comparedWith } = contrastWords(contrast);
  return [
    reportLede(contrast, rank, 3),
    ...reportMethod(contrast, { rank }, true).map(({ lead, text }) => `${lead ?? ''} ${text}`),
    comparedWith,
    notice ?? '',
    standardErrors,
    ...mapEnds(contrast),
    ...mapEnds(contrast, '1950'),
    mapMeaning(contrast),
    mapMeaning(contrast, '“1950”'),
  ].join('\n');
}

/** What a sentence of each contrast has, and no other's may. */
const MARKS = { null: /without (it|the label|“1950”)|no label/, others: /other labels/, label: /“1920”/ };

describe.each(ALL)('%s', (_name, contrast) => {
  const kind = contrast.against === 'null' || contrast.against === 'others' ? contrast.against : 'label';

  test.each(LISTS)('describes exactly what was compared (--rank %s)', (rank) => {
    const text = sentences(contrast, rank);
    for (const [other, mark] of Object.entries(MARKS)) {
      // "the other labels" are also those that a label is compared with
      const said = other === 'others' ? text.replaceAll('is what the other labels are compared with', '') : text;
      expect(mark.test(said)).toBe(other === kind);
    }
    expect(/null class/.test(text)).toBe(kind === 'null' && contrast.conditioning === 'class');
    expect(/prompt/.test(text)).toBe(kind === 'null' && contrast.conditioning === 'text');
    expect(/random weights/.test(text)).toBe(contrast.untrained === true);
    expect(/a diffusion model/.test(text)).toBe(contrast.untrained !== true);
    expect(/Control run/.test(text)).toBe(contrast.untrained === true);
    expect(/[Mm]ost typical|[Ll]east typical/.test(text)).toBe(contrast.untrained !== true && rank !== 'random');
    expect(/Every image was scored under every label/.test(text)).toBe(contrast.allLabels === true);
    expect(/its own images were not scored/.test(text)).toBe(kind === 'label' && !contrast.allLabels);
    expect(/averaged over 100/.test(text)).toBe(contrast.samples > 1);
    expect(/no standard errors/.test(text)).toBe(contrast.samples === 1);
    expect(text).not.toMatch(/undefined|null(?! class| condition)|NaN|\bknow/);
  });

  test('names the clustered list', () => {
    const untrained = contrast.untrained === true;
    const named = LISTS.map((rank) => patchesOf(rank, untrained));
    expect(named).toEqual(
      untrained ? ['highest-typicality', 'lowest-typicality', 'random'] : ['most typical', 'least typical', 'random'],
    );
    for (const [i, rank] of LISTS.entries()) {
      const clusters = reportMethod(contrast, { rank }, true).find(({ lead }) => lead === 'Clusters')?.text ?? '';
      expect(clusters).toContain(`group the ${named[i]} patches`);
      expect(reportLede(contrast, rank, 3).toLowerCase()).toContain(`${named[i]} patches`);
    }
  });
});

describe('sentences', () => {
  test('read as they should', () => {
    expect(reportLede(BASE, 'top', 3)).toBe(
      'The most typical patches of each of 3 labels, grouped by appearance. Patches are ranked by how much better a diffusion model denoises them with the label than without it.',
    );
    expect(reportLede({ ...BASE, against: 'A' }, 'bottom', 1)).toBe(
      'The least typical patches of one label, grouped by appearance. Patches are ranked by how much better a diffusion model denoises them with the label than with “A”, lowest first.',
    );
    expect(definition({ ...BASE, against: 'others', samples: 1 }, 'pixel')).toBe(
      'The typicality of a pixel for a label is the denoising loss of a diffusion model with the other labels (mean of their losses) minus its loss with the label, for one noise and timestep sample. ' +
        'Above zero, the model denoises the pixel better with the label; below zero, better with the other labels.',
    );
    expect(nullMeaning(BASE)).toBe(
      'Without the label (the null condition), the model is given the unconditional prompt “A car.”.',
    );
    expect(nullMeaning({ ...BASE, nullPrompt: '' })).toBe(
      'Without the label (the null condition), the model is given an empty prompt.',
    );
    const pair = { ...BASE, against: 'others', othersPerSample: 1, labels: ['A', 'B'] };
    expect(titleOf(undefined, 'photos', pair)).toBe('What distinguishes A from B');
    expect(titleOf('Mine', 'photos', pair)).toBe('Mine');
    expect(titleOf(undefined, 'photos', { ...pair, against: 'null' })).toBe('photos');
    const manifest = {
      options: { ...pair, labels: undefined },
      conditions: ['A', 'B'],
      model: { conditioning: 'text' },
    };
    expect(titleOf(undefined, 'photos', contrastOf({ manifest } as unknown as Parameters<typeof contrastOf>[0]))).toBe(
      'What distinguishes A from B',
    );
    expect(mapEnds(pair, 'A')).toEqual(['better with “B”', 'better with “A”']);
    expect(contrastWords(pair).comparedWith).toBe('each other (“A” with “B”)');
    expect(reportLede(pair, 'top', 2)).toMatch(
      /^Patches of “A” .* with their own label than with “B”, and the other way round/,
    );
    expect(imagesMeaning({ ...BASE, against: 'A', allLabels: true })).toBe(
      'Every image was scored under every label but “A”, so a patch of one label can come from an image of another.',
    );
    expect(mapEnds({ ...BASE, against: 'A' }, 'B')).toEqual(['better with “A”', 'better with “B”']);
    expect(reportMethod(BASE, { rank: 'top' }, false).map(({ lead }) => lead)).toEqual([
      undefined,
      'Clusters',
      'Ranking',
    ]);
  });

  test('standard errors and timesteps follow the sampler', () => {
    const errors = (more: Partial<Contrast>): string => contrastWords({ ...BASE, ...more }).standardErrors;
    expect(errors({})).toBe('Standard errors are over the 100 samples of a patch and allow for stratified timesteps.');
    expect(errors({ samples: 3 })).toContain('upper bounds');
    expect(errors({ sampler: 'reference' })).not.toContain('upper bounds');
    expect(errors({ replay: 'sha' })).toBe('Standard errors are over the 100 replayed samples of a patch.');
    expect(contrastWords(BASE).timesteps).toBe('100 to 699');
    expect(contrastWords({ ...BASE, tBegin: 5, tEnd: 6 }).timesteps).toBe('5');
    expect(contrastWords({ ...BASE, replay: 'sha' }).timesteps).toBe('replayed from a file');
  });
});

describe('the files of a report', () => {
  const folder = temporaryFolder();
  const LABELS = ['1920', '1950', '1980'];
  let images: SyntheticImage[] = [];
  beforeAll(async () => {
    images = await drawImages(join(folder, 'cars'), LABELS, (label) => [0, 1].map((n) => `${label}/${n}.png`), {
      width: 64,
      height: 64,
    });
  });

  interface Data {
    run: {
      words: Record<string, string> & {
        method: { lead?: string; text: string }[];
        lists: Record<string, { name: string }>;
        notice: string | null;
      };
      labels: { label: string; made: string; clustered: number; images: number }[];
      model: { name: string };
    };
    label: {
      clusters: { number: number; members: number[] }[];
      words: { ends: string[]; map: string };
      patches: { cluster: (number | null)[] };
    };
    evaluated: { words: { run: string; before: string; ends: string[]; scores: string; maps: string } } | null;
  }
  async function report(name: string, options: Partial<SyntheticOptions>, evaluated = false): Promise<Data> {
    const path = join(folder, name);
    await writeSyntheticRun(path, join(folder, 'cars'), images, {
      labels: LABELS,
      clusters: 2,
      shardSize: 100,
      ...options,
    });
    if (evaluated) {
      const rows = images
        .filter(({ label }) => label !== options.scan?.against)
        .map(({ path: image, label, width, height }) => ({
          image,
          label,
          condition: label,
          source_width: width,
          source_height: height,
          width,
          height,
          typicality: 0,
          samples: 100,
        }));
      await writeTable(join(path, 'shards', '00000', 'images.parquet'), rows, imageSchema([]));
    }
    await writeReport({ run: path });
    if (evaluated) {
      const { writeFileSync } = await import('node:fs');
      writeFileSync(
        join(folder, 'boxes.csv'),
        [
          'image,x,y,w,h',
          ...images.map(({ path: image, hot: { x, y, width, height } }) => [image, x, y, width, height].join(',')),
        ].join('\n'),
      );
      await evaluate({ run: path, boxes: join(folder, 'boxes.csv'), bootstrap: 0 });
    }
    const found: Partial<Data> = {};
    const context = createContext({
      diffmine: {
        run: (run: Data['run']) => (found.run = run),
        label: (_: number, label: Data['label']) => (found.label = label),
        evaluated: (data: Data['evaluated']) => (found.evaluated = data),
      },
    });
    for (const file of ['run', 'label-0', 'evaluation'])
      runInContext(readFileSync(join(path, 'report', 'data', `${file}.js`), 'utf8'), context);
    return found as Data;
  }

  test('--against LABEL: no sentence, legend or tooltip speaks of "no label"', async () => {
    const { run, label, evaluated } = await report('against', { scan: { against: '1920' } }, true);
    expect(run.labels.map((one) => one.label)).toEqual(['1950', '1980']);
    expect(run.words['comparedWith']).toBe('“1920”');
    expect(run.words['score']).toBe('Typicality against “1920”');
    expect(run.words.method[0]?.text).toContain(
      '“1920” is what the other labels are compared with; its own images were not scored.',
    );
    expect(label.words).toEqual({
      ends: ['better with “1920”', 'better with “1950”'],
      map: 'Typicality map of the image for “1950” against “1920”. In a typicality map, red pixels are denoised better with “1950” and blue pixels better with “1920”; gray pixels equally well.',
    });
    expect(evaluated?.words).toMatchObject({
      run: 'This run',
      ends: ['better with “1920”', 'better with the label'],
      scores: 'Typicality is against “1920”.',
    });
    expect(JSON.stringify([run.words, label.words, evaluated?.words])).not.toMatch(/no label|without|[Uu]nconditional/);
  });

  test('--rank least, --untrained, one sample, a class model', async () => {
    const { run, label, evaluated } = await report(
      'control',
      {
        rank: 'bottom',
        conditioning: 'class',
        scan: { untrained: true, samples: 1, against: 'others', allLabels: true },
      },
      true,
    );
    expect(run.words).toMatchObject({
      title: 'cars (untrained control)',
      notice: expect.stringContaining('random weights') as string,
      score: 'Typicality against the other labels',
      standardErrors: expect.stringContaining('no standard errors') as string,
    });
    expect(run.model.name).toBe('stable-diffusion-v1-5, random weights');
    expect(run.words.lists).toMatchObject({
      top: { name: 'Highest typicality' },
      bottom: { name: 'Lowest typicality' },
    });
    expect(run.labels[0]?.made).toMatch(/^\d+ lowest-typicality patches from 2 images in 2 clusters$/);
    expect(label.words.ends).toEqual(['better with other labels', 'better with “1920”']);
    expect(evaluated?.words).toMatchObject({ run: 'This run (random weights)', before: 'With random weights, ' });
  });

  test('clusters have the numbers of the tables', async () => {
    const { label } = await report('numbers', {});
    expect(label.clusters.map(({ number }) => number)).toEqual([0, 1]);
    for (const { number, members } of label.clusters)
      for (const tile of members) expect(label.patches.cluster[tile]).toBe(number);
  });

  test('the images of a label are those of its clustered patches', async () => {
    const { run } = await report('amounts', { perImage: 1, rank: 'random' });
    expect(run.labels.map(({ made, clustered, images }) => ({ made, clustered, images }))).toEqual(
      LABELS.map(() => ({ made: '2 random patches from 2 images in 2 clusters', clustered: 2, images: 2 })),
    );
  });

  test('no static file of a page describes a contrast', () => {
    const folders = ['web/page', 'stages/report/page', 'stages/localize/page', 'stages/cotypicality/page'];
    const files = folders.flatMap((folder) =>
      readdirSync(join(__dirname, '..', '..', 'src', folder))
        .filter((name) => /\.(js|html)$/.test(name))
        .map((name) => join(folder, name)),
    );
    expect(files).toContain('web/page/tools.js');
    for (const file of files) {
      const text = readFileSync(join(__dirname, '..', '..', 'src', file), 'utf8').replace(/^\s*(\/\/|\*).*$/gm, '');
      expect(text).not.toMatch(/know(ing|s)|without (it|the label)|mislead|misled|most typical|better with/i);
    }
  });
});
