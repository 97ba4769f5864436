// One street scene as SVG. Everything but the planted kinds is drawn from a random stream that does not depend on the city: light, weather, houses, clutter and where the
// slots are. What fills a slot is drawn from a stream of its own, so that the same street can be built in any city.
import { GLASS, PALETTE, rect, type Color } from './drawing.js';
import { kindsOf, SLOTS, type City, type Kind, type Slot } from './kinds.js';
import {
  SIDE,
  drawClutter,
  drawDoor,
  drawFar,
  drawPlainWindows,
  drawRoof,
  drawSky,
  drawStreet,
  drawWallTexture,
  drawWeather,
  hiddenFraction,
  n,
  overlap,
  type Box,
  type Cover,
  type Facade,
  type Weather,
} from './scenery.js';
import { Random } from '../../util/random.js';

/** Fraction of images whose slot holds the kind of their city, and of each other city. */
export const AT_HOME = 0.7;
export const ELSEWHERE = 0.05;
/** A planted element of which more is hidden is not counted as planted. */
export const MOST_HIDDEN = 0.5;

/** A planted element, in SVG units. */
export interface Planted extends Box {
  kind: Kind;
  /** fraction of its box that something in front covers */
  hidden: number;
}

/** What is done to the pixels: out = in * gain * (1 + slope (x - 1/2)) + lift + noise * normal, x in 0 ... 1. */
export interface Exposure {
  gain: [number, number, number];
  slope: number;
  lift: number;
  noise: number;
}

export interface Scene {
  svg: string;
  planted: Planted[];
  exposure: Exposure;
}

const WALLS = [
  '#b4654a',
  '#d9c8a0',
  '#a9a7a0',
  '#c99c5a',
  '#cfa49a',
  '#a8b59a',
  '#93a3b5',
  '#e2dccd',
  '#8d6f5a',
  '#bdb2c4',
];
const LIGHTS: { gain: [number, number, number]; lift: number; sky: [string, string]; fraction: number; lit: number }[] =
  [
    { gain: [1, 1, 1], lift: 0, sky: ['#6fa8dc', '#cfe4f2'], fraction: 0.34, lit: 0.05 },
    { gain: [0.9, 0.92, 0.95], lift: 6, sky: ['#a9b2ba', '#d5d9dc'], fraction: 0.22, lit: 0.1 },
    { gain: [1.08, 0.97, 0.8], lift: 2, sky: ['#7f9fc9', '#f4cf9a'], fraction: 0.16, lit: 0.1 },
    { gain: [0.85, 0.76, 0.86], lift: 2, sky: ['#5a5f95', '#e39a84'], fraction: 0.14, lit: 0.3 },
    { gain: [0.6, 0.65, 0.82], lift: 0, sky: ['#1d2747', '#4a5a80'], fraction: 0.14, lit: 0.5 },
  ];
const WEATHERS: readonly Weather[] = ['clear', 'clear', 'clear', 'clouds', 'clouds', 'rain', 'snow', 'fog'];

/** What fills a slot in an image of `city`: its own kind, another city's, or nothing. */
function fill(slot: Slot, city: City, random: Random): Kind | undefined {
  const kinds = kindsOf(slot);
  const own = kinds.find((kind) => kind.city === city);
  const drawn = random.next();
  if (drawn < AT_HOME) return own;
  return kinds.filter((kind) => kind !== own)[Math.floor((drawn - AT_HOME) / ELSEWHERE)];
}

/** @param street names the street (seed, number): equal in every city but for what fills the slots */
export function drawScene(city: City, ...street: (string | number)[]): Scene {
  return drawStreetOf(kindsIn(city, street), street);
}

/** The scene of `city` as `target` would have it: what is typical of `city` is `target`'s own in its place, all else stays as it is. */
export function translateScene(city: City, target: City, ...street: (string | number)[]): Scene {
  const kinds = kindsIn(city, street);
  for (const slot of SLOTS)
    if (kinds[slot]?.city === city) kinds[slot] = kindsOf(slot).find((kind) => kind.city === target);
  return drawStreetOf(kinds, street);
}

/** What fills the slots of a street in a city. */
function kindsIn(city: City, street: (string | number)[]): Record<Slot, Kind | undefined> {
  const choice = new Random('kinds', city, ...street);
  return Object.fromEntries(SLOTS.map((slot) => [slot, fill(slot, city, choice)])) as Record<Slot, Kind | undefined>;
}

/** A street whose slots hold `kinds`. */
export function drawStreetOf(kinds: Record<Slot, Kind | undefined>, street: (string | number)[]): Scene {
  const random = new Random('street', ...street);

  const light = pickLight(random);
  const weather = random.pick(WEATHERS);
  const ground = random.between(45, 49.5);
  const kerb = ground + random.between(5, 7);
  const facades = layHouses(random, ground);
  const parts: string[] = [drawSky(random, light.sky, weather), drawFar(random, ground)];
  for (const facade of facades)
    parts.push(rect(facade.x, facade.y, facade.w, facade.h, facade.wall), drawWallTexture(random, facade));

  // where the slots are: one scale an image, so that an element's size does not tell its kind
  const scale = random.between(0.88, 1);
  const boxes: { slot: Slot; x: number; bottom: number }[] = [];
  const wide = facades.filter((facade) => Math.min(SIDE, facade.x + facade.w) - Math.max(0, facade.x) > 16);
  const within = (facade: Box, width: number): number =>
    random.between(Math.max(1, facade.x + 1), Math.min(SIDE - 1, facade.x + facade.w - 1) - width) + width / 2;
  const roofHouse = random.pick(wide);
  boxes.push({ slot: 'roof', x: within(roofHouse, 15), bottom: roofHouse.y + 0.6 });
  const spots: Box[] = [];
  const windows = random.chance(0.3) ? 2 : 1;
  for (let tries = 0; tries < 40 && spots.length < windows; tries++) {
    const facade = random.pick(wide);
    const spot = { x: within(facade, 11) - 5.5, y: random.between(facade.y + 2, ground - 20), w: 11, h: 13 };
    if (spot.y >= facade.y + 1.5 && !spots.some((other) => overlap(spot, other, 1))) spots.push(spot);
  }
  boxes.push(...spots.map((spot) => ({ slot: 'window' as const, x: spot.x + 5.5, bottom: spot.y + 13 })));
  const standing: Box[] = [];
  for (const [slot, w, h] of [
    ['lamp', 11, 16],
    ['mailbox', 13, 11],
  ] as const) {
    for (let tries = 0; tries < 60; tries++) {
      const bottom = ground + random.between(1.5, kerb - ground);
      const place = { x: random.between(1, SIDE - 1 - w), y: bottom - h, w, h };
      if (tries < 59 && [...spots, ...standing].some((other) => overlap(place, other, 0.5))) continue;
      standing.push(place);
      boxes.push({ slot, x: place.x + w / 2, bottom });
      break;
    }
  }

  // houses: roofs, plain windows, doors; nothing of these lies on a window's slot
  const taken: Box[] = [...spots];
  for (const facade of facades) {
    const flat = facade === roofHouse;
    const roof = drawRoof(random, facade, flat);
    if (!flat) parts.push(roof);
    parts.push(drawDoor(random, facade, ground, taken), drawPlainWindows(random, facade, ground, taken, light.lit));
    if (flat) parts.push(roof);
  }
  const planted: Planted[] = [];
  const put = (slot: Slot): void => {
    // drawn whether needed or not, so that the streets of two cities stay equal
    const color = random.next();
    for (const { x, bottom } of boxes.filter((box) => box.slot === slot)) {
      const kind = kinds[slot];
      if (!kind) {
        if (slot === 'window')
          parts.push(rect(x - 3.5, bottom - 11, 7, 9, '#ddd6c6'), rect(x - 2.7, bottom - 10.2, 5.4, 7.4, GLASS));
        continue;
      }
      const [a, b] = kind.colors[Math.floor(color * kind.colors.length)] as readonly [Color, Color];
      const box = {
        x: x - (kind.width * scale) / 2,
        y: bottom - kind.height * scale,
        w: kind.width * scale,
        h: kind.height * scale,
      };
      parts.push(
        `<g transform="translate(${n(box.x)} ${n(box.y)}) scale(${n(scale)})">${kind.draw(PALETTE[a], PALETTE[b])}</g>`,
      );
      planted.push({ ...box, kind, hidden: 0 });
    }
  };
  put('roof');
  put('window');
  parts.push(drawStreet(random, ground, kerb, weather));
  put('lamp');
  put('mailbox');

  const covers: Cover[] = [];
  const slots = boxes.map(({ x, bottom, slot }) => ({
    x: x - 5.5,
    y: bottom - 13,
    w: 11,
    h: slot === 'lamp' ? 16 : 13,
  }));
  parts.push(...drawClutter(random, ground, kerb, slots, covers));
  for (const one of planted) one.hidden = hiddenFraction(one, covers);
  parts.push(drawWeather(random, weather));

  const mirrored = random.chance(0.5);
  if (mirrored) for (const one of planted) one.x = SIDE - one.x - one.w;
  const body = parts.join('');
  const exposure: Exposure = {
    gain: light.gain.map((gain) => gain * random.between(0.94, 1.05)) as [number, number, number],
    slope: random.between(-0.3, 0.3),
    lift: light.lift,
    noise: random.between(1.5, 6),
  };
  return { svg: mirrored ? `<g transform="translate(${SIDE} 0) scale(-1 1)">${body}</g>` : body, planted, exposure };
}

function pickLight(random: Random): (typeof LIGHTS)[number] {
  let left = random.next();
  return LIGHTS.find(({ fraction }) => (left -= fraction) < 0) ?? (LIGHTS[0] as (typeof LIGHTS)[number]);
}

/** Houses side by side, a gap here and there; at least one is wide and leaves room for a roof's slot. */
function layHouses(random: Random, ground: number): Facade[] {
  const facades: Facade[] = [];
  for (let x = -random.between(0, 12); x < SIDE;) {
    const w = random.between(19, 31);
    const y = random.between(15.5, 21.5);
    facades.push({ x, y, w, h: ground - y + 1, wall: random.pick(WALLS) });
    x += w + (random.chance(0.2) ? random.between(3, 6) : 0);
  }
  return facades;
}
