// demo: a world whose truth is known, and whether the mining finds it.
import type { DemoCity, DemoEvent, DemoFigures, DemoFull, DemoStage, DemoSummary } from '../../tools/demo/options.js';
import { DiffmineError } from '../../util/errors.js';
import { command } from '../command.js';
import { DEMO } from '../options.js';
import { duration, table, type Output } from '../output.js';
import { defined, onMine, onScan } from '../stages.js';

const TITLES: Record<DemoStage, string> = {
  world: 'Drawing streets of six imaginary cities, each with its own kinds of window, roof, lamp post and mailbox.',
  scan: 'Scanning: how much better does the model denoise each patch with the city than without it?',
  mine: 'Mining: ranking and clustering the most typical patches of each city.',
  control: 'Control: scanning the same images with random weights.',
  evaluate: 'Evaluating: comparing patches and maps with the planted elements.',
  report: 'Writing the report.',
  translate: 'Translating a few streets of each city to the others: the same place, another city.',
  cotypicality: 'Searching for consistent changes: places typical of most cities that an image is translated to.',
  localize: 'Localizing: heat maps of each image, compared with the boxes of the planted elements.',
};

const number = (value: number | null, digits = 3): string => (value === null ? '-' : value.toFixed(digits));
const percent = (value: number | null): string => (value === null ? '-' : `${Math.round(100 * value)} %`);
const times = (value: number | null, share: number | null): string =>
  value === null || !share ? '-' : `${(value / share).toFixed(1)} x`;

/** What was found against the truth: a table of cities, a table of what is planted in them, and the upshot in words. */
export function demoText({ cities, mean, world, report, sheet, evaluation, full, seconds }: DemoSummary): string {
  const figures = (name: string, one: DemoFigures): string[] => [
    name,
    percent(one.share),
    number(one.averagePrecision),
    times(one.averagePrecision, one.share),
    number(one.colour),
    number(one.untrained),
    percent(one.precision50),
    percent(one.centre50),
    percent(one.random50),
    percent(one.pointing),
  ];
  const elements = cities.flatMap(({ city, elements: planted }) =>
    planted.map(({ slot, kind, boxes, patches50, recall50, recall }, i) => [
      i === 0 ? city : '',
      slot,
      kind,
      String(boxes),
      patches50 > 0 ? 'found' : 'missed',
      String(patches50),
      percent(recall50),
      percent(recall),
    ]),
  );
  return [
    `Findings in the ${world.pictures} images of the synthetic dataset (seed ${world.seed})`,
    table(
      ['city', 'planted', 'AP', 'AP / planted', 'colours', 'untrained', 'P@50', 'centre', 'random', 'pointing'],
      [...cities.map((one) => figures(one.city, one)), figures('mean', mean)],
      [1, 2, 3, 4, 5, 6, 7, 8, 9],
    ),
    '  planted: fraction of pixels in boxes of elements typical of the city (chance level of AP); AP: average precision of the typicality maps, and of',
    '  colors alone and of random weights (untrained); P@50: fraction of the 50 most typical patches on a planted element (centre: with their center;',
    '  random: of 50 random patches); pointing: fraction of images whose most typical pixel is on a planted element.',
    '',
    'Planted elements',
    table(['city', 'slot', 'kind', 'boxes', '', 'of 50', 'recall in 50', 'recall'], elements, [3, 5, 6, 7]),
    '  of 50: number of the 50 most typical patches on it; recall: fraction of its boxes that those 50, or all ranked patches, are on.',
    '',
    upshot(cities, mean),
    ...evaluation.notes,
    '',
    ...(full === null ? [] : [...fullText(full), '']),
    `Report: ${report}`,
    ...(full === null ? [] : [`All reports, linked: ${full.page}`]),
    ...(sheet === null ? [] : [`Pictures beside their maps, with the boxes: ${sheet}`]),
    `Took ${duration(seconds)}.`,
  ].join('\n');
}

/** What the further applications found, a paragraph each. */
function fullText({ translation, cotypicality, localization }: DemoFull): string[] {
  const { quality } = translation;
  const slots = cotypicality.truth?.columns['slot'];
  const maps = localization.result?.mean;
  return [
    'The other applications',
    `  Translation: ${translation.translated} pictures to ${translation.labels.length - 1} other cities each. Reconstruction ${number(translation.psnr, 1)} dB; structure kept ${number(quality.structure.mean, 2)} ` +
      `(other pictures ${number(quality.structure.control, 2)}); ${percent(quality.label.preferred)} look more like their target than like where they come from.`,
    `  Consistent changes: ${cotypicality.places} places in ${cotypicality.clusters.length} clusters` +
      (slots
        ? `; purity by kind of place ${percent(slots.top.purity)} (dealt out at random ${percent(slots.top.chance)}, random places ${percent(slots.random.purity)}).`
        : '.'),
    `  Localization: average precision ${number(maps?.model?.averagePrecision.value ?? null)} of heat maps (planted ${percent(maps?.share ?? null)}), pointing ${percent(maps?.model?.pointing.value ?? null)}, ` +
      `best IoU ${number(maps?.model?.bestIou.value ?? null, 2)}, the paper's AUC-PR ${number(maps?.model?.paperAucPr.value ?? null)}.`,
  ];
}

function upshot(cities: DemoCity[], mean: DemoFigures): string {
  const planted = cities.flatMap(({ city, elements }) => elements.map((one) => ({ city, ...one })));
  const missed = planted.filter(({ patches50 }) => patches50 === 0);
  const lacking =
    missed.length === 0 ? '' : ` (not: ${missed.map(({ city, kind }) => `${kind} in ${city}`).join(', ')})`;
  return (
    `${planted.length - missed.length} of ${planted.length} planted kinds are among the 50 most typical patches of their city${lacking}. ` +
    `${percent(mean.precision50)} of these patches are on something planted; of random ones, ${percent(mean.random50)}.`
  );
}

function onDemo(output: Output): (event: DemoEvent) => void {
  const [scan, mine] = [onScan(output), onMine(output)];
  return (event) => {
    switch (event.type) {
      case 'stage':
        output.log(TITLES[event.stage]);
        break;
      case 'progress':
        output.progress(event);
        break;
      case 'scan':
        scan(event.event);
        break;
      case 'mine':
        mine(event.event);
        break;
    }
  };
}

export const demoCommand = command({
  name: 'demo',
  describe:
    'Draw a small world with known truth, mine it with the model of the package, and tell what was found of what was planted',
  options: { ...DEMO },
  examples: [
    ['diffmine demo', 'demo-run/run/report/index.html, and the figures on stdout'],
    ['diffmine demo --full', 'And translation, consistent changes and localization; all linked by demo-run/index.html'],
    ['diffmine demo --data-only world', 'world/train, world/heldout and world/boxes.csv, and no more'],
  ],
  resumeHint: 'What is finished is kept: the same command goes on where this one stopped.',
  async handle(values, { output, signal }) {
    const { 'data-only': folder, pictures, size, seed } = values;
    if (folder !== undefined) {
      const idle = (
        ['out', 'model', 'variant', 'samples', 'clusters', 'bootstrap', 'full', 'translated'] as const
      ).find((name) => values[name] !== undefined);
      if (idle !== undefined)
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `--${idle} means nothing with --data-only, which draws pictures and no more.`,
        );
      return drawOnly(folder, defined({ pictures, size, heldout: values.heldout, seed }), output, signal);
    }
    if (values.translated !== undefined && !values.full)
      throw new DiffmineError('INVALID_ARGUMENT', '--translated is for --full: else nothing is translated.');
    if (values.heldout !== undefined)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '--heldout is for --data-only: all pictures of the demo are held out.',
      );
    const { ensureSetup } = await import('../../tools/setup/setup.js');
    await ensureSetup({ log: (line) => output.log(line), signal });
    const { demo } = await import('../../tools/demo/demo.js');
    const {
      out,
      model,
      variant,
      samples,
      clusters,
      bootstrap,
      full,
      translated,
      device,
      threads,
      dtype: precision,
    } = values;
    const summary = await demo(
      defined({
        out,
        model,
        variant,
        pictures,
        size,
        samples,
        seed,
        clusters,
        bootstrap,
        full,
        translated,
        device,
        threads,
        precision,
      }),
      { signal, onProgress: onDemo(output), log: (line) => output.log(line) },
    );
    return { text: demoText(summary), json: summary };
  },
});

async function drawOnly(
  folder: string,
  settings: object,
  output: Output,
  signal: AbortSignal,
): Promise<{ text: string; json: object }> {
  const { writeWorld } = await import('../../tools/world/world.js');
  const world = await writeWorld(folder, settings, { signal, onProgress: output.progress });
  const text = [
    `${world.train.pictures} pictures to train on:  ${world.train.path}`,
    `${world.heldout.pictures} held-out pictures:    ${world.heldout.path}`,
    `${world.boxes.rows} boxes of planted elements: ${world.boxes.path}`,
  ].join('\n');
  return { text, json: world };
}
