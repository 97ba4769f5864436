// Resolves --race, --race-risk and --top to the settings of a race.
import type { ImageList } from '../../data/index.js';
import { defaultsOf } from '../../options/option.js';
import { MINING } from '../../options/scoring.js';
import { check } from '../../pipeline/resolve.js';
import type { RaceOptions } from '../../runs/manifest.js';
import { count } from '../../web/html.js';
import type { ScanOptions } from './options.js';

const TOP = defaultsOf(MINING).top;
/** As shown in src/options/scoring.ts. */
const RISK = 0.01;
/** Samples of the first round, a tenth of all: of fewer than 6, errors are too uncertain to keep the stated risk; 8 are enough for any N. */
const [FEWEST, ENOUGH] = [6, 8];
/** Where half of the images leave whatever is known of them. */
const ENOUGH_FOR_HALF = 10;
/** Fraction of a label's images that get all samples: an unbiased part of it, for random patches and other controls. */
const CONTROLS = 0.01;

/**
 * Samples after each round: 1.4 times as many each time, but no more than an eighth of N more, because late rounds would be most of the cost otherwise.
 * Finer rounds save little more, and each reads the images again. Where half of the images leave they double. The last round is not a small one.
 */
export function roundEnds(samples: number, rule: RaceOptions['rule'] = 'risk'): number[] {
  const half = rule === 'half';
  const first = Math.min(half ? ENOUGH_FOR_HALF : ENOUGH, Math.max(FEWEST, Math.round(samples / 10)));
  const step = Math.max(2, samples / 8);
  const next = (n: number): number => (half ? 2 * n : Math.min(Math.SQRT2 * n, n + step));
  const latest = half ? samples / 1.3 : samples - Math.max(2, step / 2);
  const ends: number[] = [];
  for (let n = first; n <= latest; n = next(n)) ends.push(Math.round(n));
  return [...ends, samples];
}

/**
 * How a scan races; undefined where it does not, or where there is nothing to save, which is told.
 *
 * @param about `scored`: labels that images are scored under, with `allLabels` every image under each
 * @throws INVALID_ARGUMENT
 */
export function raceOptions(
  { race, top: asked, raceRisk, replay }: Pick<ScanOptions, 'race' | 'top' | 'raceRisk' | 'replay'>,
  about: {
    images: Pick<ImageList, 'length' | 'countByLabel'>;
    scored: readonly string[];
    samples: number;
    allLabels: boolean;
  },
  log?: (sentence: string) => void,
): RaceOptions | undefined {
  if (race === undefined || race === false) {
    check(raceRisk === undefined, '`raceRisk` has no effect without `race`.', 'Give `race`, too.');
    return undefined;
  }
  check(
    replay === undefined,
    '`race` and `replay` cannot be used together: replayed noise is for exact comparisons.',
    'Leave one of them out.',
  );
  const top = asked ?? TOP;
  const risk = raceRisk ?? RISK;
  check(risk > 0 && risk < 1, `\`raceRisk\` is ${risk}; expected a fraction above 0 and below 1, such as 0.01.`);
  const { images, scored, samples, allLabels } = about;
  const rule = race === 'half' ? 'half' : 'risk';
  const ends = roundEnds(samples, rule);
  const counts = allLabels ? new Map(scored.map((label) => [label, images.length])) : images.countByLabel();
  const most = Math.max(0, ...counts.values());
  let useless: string | undefined;
  if (ends.length < 2)
    useless = `${count(samples, 'sample')} per image ${samples === 1 ? 'is' : 'are'} too few for rounds`;
  else if (2 * top > most)
    useless = `\`top\` asks for ${top} patches of each label, and no label has more than ${count(most, 'image')}. A race needs at least twice as many images as patches`;
  if (useless !== undefined) {
    log?.(`Not racing, as nothing can be saved: ${useless}.`);
    return undefined;
  }
  return { top, rule, risk, ends, controls: CONTROLS };
}
