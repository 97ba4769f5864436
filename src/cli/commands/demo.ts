// demo: mines a synthetic dataset with ground truth, and reports how much was found.
import { POOR_PSNR } from '../../runs/reconstruction-words.js';
import { optionsOf } from '../../options/option.js';
import {
  DATA_ONLY,
  DEMO,
  type DemoCity,
  type DemoEvent,
  type DemoFigures,
  type DemoFull,
  type DemoStage,
  type DemoSummary,
} from '../../tools/demo/options.js';
import { pick } from '../../util/pick.js';
import { DiffmineError } from '../../util/errors.js';
import { command } from '../command.js';
import { duration, table, type Output } from '../output.js';
import { onMine, onScan } from '../stages.js';

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
const times = (value: number | null, fraction: number | null): string =>
  value === null || !fraction ? '-' : `${(value / fraction).toFixed(1)} x`;

/** What was found against the truth: a table of cities, a table of what is planted in them, and the upshot in words. */
export function demoText({ cities, mean, world, page, grid, evaluation, full, seconds }: DemoSummary): string {
  const figures = (name: string, one: DemoFigures): string[] => [
    name,
    percent(one.fraction),
    number(one.averagePrecision),
    times(one.averagePrecision, one.fraction),
    number(one.color),
    number(one.untrained),
    percent(one.precision50),
    percent(one.center50),
    percent(one.diverse50),
    percent(one.random50),
    percent(one.pointing),
  ];
  const elements = cities.flatMap(({ city, elements: planted }) =>
    planted.map(({ slot, kind, boxes, patches50, diverse50, recall50, recall }, i) => [
      i === 0 ? city : '',
      slot,
      kind,
      String(boxes),
      patches50 > 0 ? 'found' : 'missed',
      String(patches50),
      String(diverse50),
      percent(recall50),
      percent(recall),
    ]),
  );
  return [
    `Findings in the ${world.images} images of the synthetic dataset (seed ${world.seed})`,
    table(
      [
        'city',
        'planted',
        'AP',
        'AP / planted',
        'colors',
        'untrained',
        'P@50',
        'center',
        'diverse',
        'random',
        'pointing',
      ],
      [...cities.map((one) => figures(one.city, one)), figures('mean', mean)],
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    ),
    '  planted: fraction of pixels in boxes of elements typical of the city (chance level of AP); AP: average precision of the typicality maps, and of',
    '  colors alone and of random weights (untrained); P@50: fraction of the 50 most typical patches on a planted element (center: with their center;',
    '  diverse: of the first 50 of the diverse ranking; random: of 50 random patches); pointing: fraction of images whose most typical pixel is on a planted element.',
    '',
    'Planted elements',
    table(
      ['city', 'slot', 'kind', 'boxes', '', 'of 50', 'diverse', 'recall in 50', 'recall'],
      elements,
      [3, 5, 6, 7, 8],
    ),
    '  of 50: number of the 50 most typical patches on it; diverse: of the first 50 of the diverse ranking; recall: fraction of its boxes that those 50, or all ranked patches, are on.',
    '',
    upshot(cities, mean),
    ...evaluation.notes,
    '',
    ...(full === null ? [] : [...fullText(full), '']),
    `Report: ${page}`,
    ...(full === null ? [] : [`All reports, linked: ${full.page}`]),
    ...(grid === null ? [] : [`Images beside their maps, with the boxes: ${grid}`]),
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
    `  Translation: ${translation.translated} images to ${translation.labels.length - 1} other cities each. Reconstruction ${number(translation.psnr, 1)} dB (PSNR, higher is closer; below ${POOR_PSNR} dB the source is lost); structure kept ${number(quality.structure.mean, 2)} ` +
      `(other images ${number(quality.structure.control, 2)}); ${percent(quality.label.preferred)} look more like their target than like their source.`,
    `  Consistent changes: ${cotypicality.places} places in ${cotypicality.clusters.length} clusters` +
      (slots
        ? `; purity by kind of place ${percent(slots.top.purity)} (by chance ${percent(slots.top.chance)}, random places ${percent(slots.random.purity)}).`
        : '.'),
    `  Localization: average precision ${number(maps?.model?.averagePrecision.value ?? null)} of heat maps (planted ${percent(maps?.fraction ?? null)}), pointing ${percent(maps?.model?.pointing.value ?? null)}, ` +
      `best IoU ${number(maps?.model?.bestIou.value ?? null, 2)}, the paper's AUC-PR ${number(maps?.model?.paperAucPr.value ?? null)}.`,
  ];
}

function upshot(cities: DemoCity[], mean: DemoFigures): string {
  const planted = cities.flatMap(({ city, elements }) => elements.map((one) => ({ city, ...one })));
  const missed = planted.filter(({ patches50 }) => patches50 === 0);
  const lacking =
    missed.length === 0 ? '' : ` (not: ${missed.map(({ city, kind }) => `${kind} in ${city}`).join(', ')})`;
  const diverse = planted.filter(({ diverse50 }) => diverse50 > 0).length;
  return (
    `${planted.length - missed.length} of ${planted.length} planted kinds are among the 50 most typical patches of their city${lacking}, ` +
    `and ${diverse} among the first 50 of its diverse ranking. ` +
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
        output.progress(event.event);
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
  options: optionsOf('demo', { ...DEMO.shape, ...DATA_ONLY.shape }),
  examples: [
    ['diffmine demo', 'Writes demo-run/run/report/index.html and prints the results'],
    ['diffmine demo --full', 'Adds translation, consistent changes and localization; start at demo-run/index.html'],
    ['diffmine demo --data-only world', 'Writes only world/train, world/heldout and world/boxes.csv'],
  ],
  resumeHint: 'Finished work is kept. Run the same command to resume.',
  async handle({ dataOnly, holdout, ...options }, { output, signal }) {
    if (dataOnly !== undefined) {
      const idle = Object.keys(options).find((key) => !Object.hasOwn(DATA_ONLY.shape, key));
      if (idle !== undefined)
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `\`${idle}\` has no effect with \`dataOnly\`, which only draws images.`,
        );
      const { imagesPerLabel: images } = options;
      const settings = {
        ...pick(options, 'size', 'seed', 'ordered'),
        ...pick({ images, heldout: holdout }, 'images', 'heldout'),
      };
      return drawOnly(dataOnly, settings, output, signal);
    }
    const { ordered, ...whole } = options;
    if (ordered)
      throw new DiffmineError('INVALID_ARGUMENT', '`ordered` needs `dataOnly`: the demo itself mines the six cities.');
    if (options.translatedImages !== undefined && !options.full)
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        '`translatedImages` needs `full`: without it, nothing is translated.',
      );
    if (holdout !== undefined)
      throw new DiffmineError('INVALID_ARGUMENT', '`holdout` needs `dataOnly`: in the demo, all images are held out.');
    const { ensureSetup } = await import('../../tools/setup/setup.js');
    await ensureSetup({ onLog: (line) => output.log(line), signal });
    const { demo } = await import('../../tools/demo/demo.js');
    const summary = await demo(whole, {
      signal,
      onProgress: onDemo(output),
      onLog: (line) => output.log(line),
    });
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
  const world = await writeWorld({ out: folder, ...settings }, { signal, onProgress: output.progress });
  const text = [
    `${world.train.images} images to train on:  ${world.train.path}`,
    `${world.heldout.images} held-out images:    ${world.heldout.path}`,
    `${world.boxes.rows} boxes of planted elements: ${world.boxes.path}`,
  ].join('\n');
  return { text, json: world };
}
