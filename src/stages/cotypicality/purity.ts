// Agreement of clusters with boxes in the source images: do the places of a cluster lie on the same kind of element?
//
// The element of a place is that of the box which the place hits (its center in the box, or an intersection over union above 0.1), of several the one of
// largest intersection over union. With m_k the count of the commonest element of cluster k over its places, purity = sum_k m_k / places: a place on no
// element counts against it. Purity alone means little, because it rises with the number of clusters. It is therefore compared with the purity after
// shuffling the elements among the places (chance), and with that of random places clustered in the same way.
import { centerIn, iou, type Box } from '../../data/boxes/index.js';
import { Random } from '../../util/random.js';
import type { Agreement } from './options.js';

const HIT = 0.1;
const SHUFFLES = 200;

/** The index of the box a place hits; undefined if it hits none. */
export function hitBox(place: Box, boxes: readonly Box[]): number | undefined {
  let best: { index: number; overlap: number } | undefined;
  boxes.forEach((box, index) => {
    const overlap = iou(place, box);
    if ((centerIn(place, box) || overlap > HIT) && (!best || overlap > best.overlap)) best = { index, overlap };
  });
  return best?.index;
}

/** sum_k m_k, of the places with an element. */
function commonest(assignment: readonly number[], elements: readonly (string | undefined)[]): number {
  const counts = new Map<number, Map<string, number>>();
  assignment.forEach((cluster, place) => {
    const element = elements[place];
    if (element === undefined) return;
    const own = counts.get(cluster) ?? new Map<string, number>();
    own.set(element, (own.get(element) ?? 0) + 1);
    counts.set(cluster, own);
  });
  return [...counts.values()].reduce((sum, own) => sum + Math.max(...own.values()), 0);
}

/**
 * @param assignment [places] cluster
 * @param elements [places] the element there, if any
 */
export function agreement(
  assignment: readonly number[],
  elements: readonly (string | undefined)[],
  seed = 0,
): Agreement {
  const places = assignment.length;
  const on = [...elements.keys()].filter((place) => elements[place] !== undefined);
  const found = commonest(assignment, elements);
  const random = new Random('purity', seed);
  /** the same with the entries of `of` in another order */
  const dealt = (of: readonly number[]): number => {
    let sum = 0;
    for (let turn = 0; turn < SHUFFLES; turn += 1) {
      const order = [...of];
      for (let i = order.length - 1; i > 0; i -= 1) {
        const j = Math.floor(random.next() * (i + 1));
        [order[i], order[j]] = [order[j] as number, order[i] as number];
      }
      const shuffled = [...elements];
      of.forEach((place, i) => (shuffled[place] = elements[order[i] as number]));
      sum += commonest(assignment, shuffled);
    }
    return sum / SHUFFLES;
  };
  const fraction = (count: number, all: number): number => (all === 0 ? 0 : count / all);
  return {
    places,
    onElement: fraction(on.length, places),
    purity: fraction(found, places),
    purityOnElements: fraction(found, on.length),
    chance: fraction(dealt([...assignment.keys()]), places),
    chanceOnElements: fraction(dealt(on), on.length),
  };
}
