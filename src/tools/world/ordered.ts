// The ordered world: labels are decades, and every planted kind has a course over them: it comes, is common for a while, and goes.
import { Random } from '../../util/random.js';
import { kindsOf, SLOTS, type Kind, type Slot } from './kinds.js';
import { drawStreetOf, type Scene } from './scene.js';

export const DECADES = ['1900s', '1910s', '1920s', '1930s', '1940s', '1950s', '1960s', '1970s'] as const;
export type Decade = (typeof DECADES)[number];

/** Fraction of images whose slot is filled, in every decade. */
export const FILLED = 0.9;
/** How long a kind stays, in decades: the standard deviation of its course before the kinds of a slot are made to add up. */
const STAY = 0.85;

/** By decade, in their order: the fraction of images in which a slot holds the kind. */
export type Course = readonly number[];

/**
 * The kinds of a slot follow each other at even distances, from before the first decade to after the last; slots are shifted against each other, and each
 * has an order of its own.
 */
function coursesOf(slot: Slot): Map<Kind, Course> {
  const kinds = kindsOf(slot);
  const shift = SLOTS.indexOf(slot);
  const peak = (place: number): number => (place * (DECADES.length - 1)) / (kinds.length - 1) + 0.4 * shift - 0.6;
  const ordered = kinds.map((_, place) => kinds[(place + 2 * shift) % kinds.length] as Kind);
  const weight = (place: number, decade: number): number => Math.exp(-(((decade - peak(place)) / STAY) ** 2) / 2);
  return new Map(
    ordered.map((kind, place) => [
      kind,
      DECADES.map((_, decade) => {
        const all = ordered.reduce((sum, _one, other) => sum + weight(other, decade), 0);
        return Math.round((1e4 * FILLED * weight(place, decade)) / all) / 1e4;
      }),
    ]),
  );
}

/** How often each kind is planted, over the decades. */
export const COURSES: ReadonlyMap<Kind, Course> = new Map(SLOTS.flatMap((slot) => [...coursesOf(slot)]));

/** The decade in which a kind is most common. */
export function peakOf(kind: Kind): Decade {
  const course = COURSES.get(kind) ?? [];
  return DECADES[course.indexOf(Math.max(...course))] as Decade;
}

/** @param street names the street (seed, number): equal in every decade but for what fills the slots */
export function drawDecade(decade: Decade, ...street: (string | number)[]): Scene {
  const random = new Random('kinds', decade, ...street);
  const at = DECADES.indexOf(decade);
  const fill = (slot: Slot): Kind | undefined => {
    let left = random.next();
    return kindsOf(slot).find((kind) => (left -= COURSES.get(kind)?.[at] ?? 0) < 0);
  };
  return drawStreetOf(
    Object.fromEntries(SLOTS.map((slot) => [slot, fill(slot)])) as Record<Slot, Kind | undefined>,
    street,
  );
}
