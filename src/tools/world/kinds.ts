// What is planted: for every city its own window, roof, lamp post and mailbox, each drawn in a box of its own. The accents come from one palette,
// which cars, doors, awnings and people use as well: a color by itself tells no city. The file is long because it is a catalog of drawings.
import { GLASS, IRON, STONE, circle, rect, shape, stroke, type Color } from './drawing.js';

export const SLOTS = ['window', 'roof', 'lamp', 'mailbox'] as const;
export type Slot = (typeof SLOTS)[number];

export const CITIES = ['belmora', 'corvant', 'dunmere', 'esperil', 'oskava', 'vinterhal'] as const;
export type City = (typeof CITIES)[number];

export interface Kind {
  slot: Slot;
  city: City;
  /** unique among all kinds */
  name: string;
  /** of the box it fills, in 64ths of the image's side */
  width: number;
  height: number;
  /** accents it comes in: main, second */
  colors: readonly (readonly [Color, Color])[];
  /** SVG within (0, 0) ... (width, height); a and b are the accents */
  draw(a: string, b: string): string;
}

export const KINDS: readonly Kind[] = [
  // --- windows
  {
    slot: 'window',
    city: 'belmora',
    name: 'arched shutters',
    width: 11,
    height: 11,
    colors: [
      ['green', 'white'],
      ['blue', 'white'],
      ['teal', 'white'],
    ],
    draw: (a, b) =>
      shape('M2.8 11V3.4a2.7 2.9 0 0 1 5.4 0V11z', b) +
      shape('M3.7 10.3V3.9a1.8 2 0 0 1 3.6 0v6.4z', GLASS) +
      rect(0, 2.6, 2.7, 8.4, a) +
      rect(8.3, 2.6, 2.7, 8.4, a) +
      stroke('M0.3 4.6h2.1M0.3 6.6h2.1M0.3 8.6h2.1M8.6 4.6h2.1M8.6 6.6h2.1M8.6 8.6h2.1', '#00000066', 0.6),
  },
  {
    slot: 'window',
    city: 'corvant',
    name: 'twin lancets',
    width: 10,
    height: 12,
    colors: [
      ['red', 'white'],
      ['violet', 'white'],
      ['blue', 'white'],
    ],
    draw: (a) =>
      shape('M0 12V6Q0.6 2 5 0Q9.4 2 10 6V12z', STONE) +
      shape('M1.2 11.2V7.2Q1.5 5.4 2.9 4.6Q4.3 5.4 4.5 7.2V11.2z', GLASS) +
      shape('M5.5 11.2V7.2Q5.7 5.4 7.1 4.6Q8.5 5.4 8.8 7.2V11.2z', GLASS) +
      circle(5, 3.2, 1.5, a),
  },
  {
    slot: 'window',
    city: 'dunmere',
    name: 'porthole',
    width: 10,
    height: 10,
    colors: [
      ['orange', 'white'],
      ['blue', 'white'],
      ['brown', 'white'],
    ],
    draw: (a, b) => circle(5, 5, 5, a) + circle(5, 5, 3.5, GLASS) + stroke('M5 1.4V8.6M1.4 5H8.6', b, 1),
  },
  {
    slot: 'window',
    city: 'esperil',
    name: 'striped awning',
    width: 11,
    height: 12,
    colors: [
      ['red', 'green'],
      ['orange', 'green'],
      ['teal', 'red'],
    ],
    draw: (a, b) =>
      rect(1.6, 3, 7.8, 6.6, '#efebe0') +
      rect(2.5, 3, 6, 5.8, GLASS) +
      shape('M1.4 0H9.6L11 4H0z', '#efebe0') +
      shape('M1.4 0H3L2.2 4H0zM4.7 0H6.3L6.6 4H4.4zM8 0H9.6L11 4H8.8z', a) +
      rect(0.8, 9.4, 9.4, 2.6, '#7a5237') +
      [2, 4, 6, 8, 9.4].map((x) => circle(x, 9.5, 0.9, b)).join(''),
  },
  {
    slot: 'window',
    city: 'oskava',
    name: 'diamond window',
    width: 11,
    height: 11,
    colors: [
      ['yellow', 'dark'],
      ['red', 'dark'],
      ['white', 'dark'],
    ],
    draw: (a) =>
      shape('M5.5 0L11 5.5L5.5 11L0 5.5z', a) +
      shape('M5.5 1.9L9.1 5.5L5.5 9.1L1.9 5.5z', GLASS) +
      stroke('M3.5 3.5L7.5 7.5M7.5 3.5L3.5 7.5', a, 0.8),
  },
  {
    slot: 'window',
    city: 'vinterhal',
    name: 'carved gable',
    width: 10,
    height: 13,
    colors: [
      ['white', 'blue'],
      ['yellow', 'green'],
      ['white', 'red'],
    ],
    draw: (a, b) =>
      shape('M5 0L10 4.4H0z', a) +
      circle(5, 2.8, 1, b) +
      rect(1, 4.4, 8, 7, a) +
      rect(2.2, 5.4, 5.6, 5.2, GLASS) +
      stroke('M2.2 5.4L7.8 10.6M7.8 5.4L2.2 10.6', a, 0.8) +
      shape('M0 11.2H10L8.6 13L7.2 11.6L5.8 13H4.2L2.8 11.6L1.4 13z', b),
  },
  // --- roofs
  {
    slot: 'roof',
    city: 'belmora',
    name: 'ribbed dome',
    width: 14,
    height: 10,
    colors: [
      ['teal', 'white'],
      ['green', 'white'],
      ['orange', 'white'],
    ],
    draw: (a, b) =>
      shape('M1 8.6a6 6.2 0 0 1 12 0z', a) +
      stroke('M7 2.6V8.6M4 8.6Q4.2 4.4 7 2.6Q9.8 4.4 10 8.6', '#00000055', 0.7) +
      rect(0, 8.3, 14, 1.7, b) +
      rect(6.1, 0.8, 1.8, 2, b) +
      circle(7, 0.8, 0.8, b),
  },
  {
    slot: 'roof',
    city: 'corvant',
    name: 'triple spires',
    width: 13,
    height: 13,
    colors: [
      ['dark', 'white'],
      ['violet', 'white'],
      ['blue', 'white'],
    ],
    draw: (a) =>
      rect(0, 10, 13, 3, STONE) +
      shape('M0.2 10.6L2 4.4L3.8 10.6zM9.2 10.6L11 4.4L12.8 10.6z', a) +
      shape('M4 10.6L6.5 0L9 10.6z', a) +
      circle(6.5, 8.2, 1, '#efebe0'),
  },
  {
    slot: 'roof',
    city: 'dunmere',
    name: 'stepped gable',
    width: 13,
    height: 11,
    colors: [
      ['brown', 'white'],
      ['orange', 'white'],
      ['red', 'white'],
    ],
    draw: (a, b) =>
      shape('M0 11V8H2V5.4H4V2.7H5.2V0H7.8V2.7H9V5.4H11V8H13V11z', b) +
      shape('M1 11V8.9H3V6.3H5V3.6H6V1H7V3.6H8V6.3H10V8.9H12V11z', a) +
      circle(6.5, 7.4, 1.3, GLASS),
  },
  {
    slot: 'roof',
    city: 'esperil',
    name: 'water tank',
    width: 11,
    height: 13,
    colors: [
      ['brown', 'dark'],
      ['green', 'dark'],
      ['white', 'red'],
    ],
    draw: (a, b) =>
      stroke('M2.5 13V8M8.5 13V8M2.5 12.6L8.5 9M8.5 12.6L2.5 9', IRON, 0.9) +
      rect(1, 3.4, 9, 5.6, a) +
      stroke('M1 5.2H10M1 7.2H10', '#00000066', 0.6) +
      shape('M5.5 0L11 3.6H0z', b),
  },
  {
    slot: 'roof',
    city: 'oskava',
    name: 'pagoda',
    width: 15,
    height: 11,
    colors: [
      ['green', 'red'],
      ['dark', 'red'],
      ['blue', 'yellow'],
    ],
    draw: (a, b) =>
      rect(4, 8.4, 7, 2.6, b) +
      shape('M0 6.4Q2.6 8 4 6.2H11Q12.4 8 15 6.4Q13.6 9.2 12 9.2H3Q1.4 9.2 0 6.4z', a) +
      rect(5, 4.2, 5, 2.2, b) +
      shape('M2.2 2.6Q4.2 4 5.6 2.4L7.5 0L9.4 2.4Q10.8 4 12.8 2.6Q11.6 5 10.4 5H4.6Q3.4 5 2.2 2.6z', a),
  },
  {
    slot: 'roof',
    city: 'vinterhal',
    name: 'onion dome',
    width: 10,
    height: 14,
    colors: [
      ['yellow', 'white'],
      ['blue', 'white'],
      ['violet', 'white'],
    ],
    draw: (a, b) =>
      rect(2.2, 10, 5.6, 4, b) +
      rect(4, 11, 2, 3, GLASS) +
      shape('M5 1.6Q5.2 3.6 7.6 5Q10.4 7 8.6 9.2L7.6 10.4H2.4L1.4 9.2Q-0.4 7 2.4 5Q4.8 3.6 5 1.6z', a) +
      stroke('M5 0V3M3.9 1.2H6.1', '#e0b330', 0.7) +
      stroke('M3.2 10Q2.4 7 4.4 4.6M6.8 10Q7.6 7 5.6 4.6', '#00000044', 0.6),
  },
  // --- lamp posts
  {
    slot: 'lamp',
    city: 'belmora',
    name: 'three globes',
    width: 9,
    height: 16,
    colors: [
      ['dark', 'white'],
      ['green', 'white'],
      ['dark', 'yellow'],
    ],
    draw: (a, b) =>
      rect(4, 4, 1, 12, a) +
      rect(3.2, 14.6, 2.6, 1.4, a) +
      stroke('M1.8 5.8V7.4H7.2V5.8', a, 0.9) +
      circle(1.8, 4.4, 1.7, b) +
      circle(7.2, 4.4, 1.7, b) +
      circle(4.5, 1.9, 1.9, b),
  },
  {
    slot: 'lamp',
    city: 'corvant',
    name: 'hanging lantern',
    width: 8,
    height: 16,
    colors: [
      ['dark', 'yellow'],
      ['brown', 'yellow'],
      ['dark', 'orange'],
    ],
    draw: (a, b) =>
      rect(0.6, 1, 1.2, 15, a) +
      rect(0, 14.4, 2.4, 1.6, a) +
      stroke('M1.2 0.6H5.6V2.8', a, 0.9) +
      stroke('M1.2 4.6Q3.4 4.2 3.6 1', a, 0.7) +
      shape('M5.6 2.2L8 4.2H3.2z', a) +
      shape('M3.5 4.2H7.7L7 8.2H4.2z', b) +
      rect(4, 8, 3.2, 0.9, a),
  },
  {
    slot: 'lamp',
    city: 'dunmere',
    name: 'twin cones',
    width: 11,
    height: 15,
    colors: [
      ['green', 'white'],
      ['red', 'white'],
      ['blue', 'white'],
    ],
    draw: (a, b) =>
      rect(5, 0, 1, 15, IRON) +
      rect(4.2, 13.6, 2.6, 1.4, IRON) +
      stroke('M1.9 2.6V1.2H9.1V2.6', IRON, 0.9) +
      shape('M1.9 1.8L3.8 5.2H0zM9.1 1.8L11 5.2H7.2z', a) +
      rect(0.6, 5.2, 2.6, 0.9, b) +
      rect(7.8, 5.2, 2.6, 0.9, b),
  },
  {
    slot: 'lamp',
    city: 'esperil',
    name: 'swan neck',
    width: 9,
    height: 16,
    colors: [
      ['teal', 'yellow'],
      ['white', 'orange'],
      ['violet', 'yellow'],
    ],
    draw: (a, b) =>
      stroke('M1.2 16V5Q1.2 0.7 4.6 0.7Q7 0.7 7 3.4', a, 1.3) +
      rect(0.2, 13.8, 2, 2.2, a) +
      shape('M4.8 5.2Q4.8 3 7 3Q9 3 9 5.2z', a) +
      rect(5.3, 5.2, 3.3, 1, b),
  },
  {
    slot: 'lamp',
    city: 'oskava',
    name: 'paper lanterns',
    width: 8,
    height: 16,
    colors: [
      ['red', 'yellow'],
      ['orange', 'yellow'],
      ['red', 'white'],
    ],
    draw: (a, b) =>
      rect(0.3, 0.6, 1, 15.4, '#7a5237') +
      rect(0, 0.6, 6, 0.9, '#7a5237') +
      stroke('M5.2 1V10', IRON, 0.5) +
      [3.8, 8.6]
        .map(
          (y) =>
            `<ellipse cx="5.2" cy="${y}" rx="2.7" ry="2.1" fill="${a}"/>` +
            rect(4.3, y - 2.3, 1.8, 0.7, b) +
            rect(4.3, y + 1.6, 1.8, 0.7, b),
        )
        .join(''),
  },
  {
    slot: 'lamp',
    city: 'vinterhal',
    name: 'fire basket',
    width: 8,
    height: 15,
    colors: [
      ['orange', 'yellow'],
      ['yellow', 'orange'],
      ['red', 'yellow'],
    ],
    draw: (a, b) =>
      stroke('M4 7.6V15M4 10L1.2 15M4 10L6.8 15', IRON, 0.9) +
      shape('M0.4 4.8H7.6L6 8H2z', IRON) +
      shape('M1.4 4.8Q1 2.8 2.6 1.6Q2.8 2.6 3.4 2.4Q3.2 0.8 4.6 0Q4.6 1.8 5.6 2.2Q7 3.2 6.6 4.8z', a) +
      shape('M2.9 4.8Q3 3.4 4.1 2.6Q5.4 3.6 5.2 4.8z', b),
  },
  // --- mailboxes, and what stands in their place
  {
    slot: 'mailbox',
    city: 'belmora',
    name: 'pillar box',
    width: 7,
    height: 11,
    colors: [
      ['red', 'yellow'],
      ['yellow', 'dark'],
      ['green', 'yellow'],
    ],
    draw: (a) =>
      shape('M0 2.6Q0.6 0 3.5 0Q6.4 0 7 2.6z', a) +
      rect(0.6, 2.6, 5.8, 7.2, a) +
      rect(1.5, 3.8, 4, 1, '#1b1b20') +
      rect(2, 5.8, 3, 2, '#efebe0') +
      rect(0.2, 9.6, 6.6, 1.4, '#1b1b20'),
  },
  {
    slot: 'mailbox',
    city: 'corvant',
    name: 'hooded box',
    width: 9,
    height: 11,
    colors: [
      ['blue', 'white'],
      ['yellow', 'dark'],
      ['teal', 'white'],
    ],
    draw: (a, b) =>
      rect(3.8, 6, 1.4, 5, '#7a5237') +
      shape('M0 6.6V2.6A2.6 2.6 0 0 1 2.6 0H6.4A2.6 2.6 0 0 1 9 2.6V6.6z', a) +
      shape('M0 6.6V2.6A2.3 2.3 0 0 1 4.6 2.6V6.6z', '#00000044') +
      shape('M5.6 3.6L8.2 2.4V5.2z', b),
  },
  {
    slot: 'mailbox',
    city: 'dunmere',
    name: 'chained bollards',
    width: 13,
    height: 8,
    colors: [
      ['dark', 'white'],
      ['brown', 'white'],
      ['dark', 'red'],
    ],
    draw: (a, b) =>
      stroke('M2 3.4Q6.5 8.4 11 3.4', '#8b8b92', 1) +
      rect(0.7, 1.8, 2.6, 6.2, a) +
      rect(9.7, 1.8, 2.6, 6.2, a) +
      circle(2, 1.5, 1.5, a) +
      circle(11, 1.5, 1.5, a) +
      rect(0.7, 4, 2.6, 1.2, b) +
      rect(9.7, 4, 2.6, 1.2, b),
  },
  {
    slot: 'mailbox',
    city: 'esperil',
    name: 'striped cone',
    width: 8,
    height: 10,
    colors: [
      ['orange', 'white'],
      ['red', 'white'],
      ['blue', 'white'],
    ],
    draw: (a, b) =>
      rect(0, 8.6, 8, 1.4, a) +
      shape('M3.2 0H4.8L7 8.8H1z', a) +
      shape('M2.75 1.8H5.25L5.75 3.8H2.25zM1.8 5.6H6.2L6.7 7.6H1.3z', b),
  },
  {
    slot: 'mailbox',
    city: 'oskava',
    name: 'stone lantern',
    width: 9,
    height: 11,
    colors: [
      ['white', 'yellow'],
      ['white', 'orange'],
      ['white', 'red'],
    ],
    draw: (a, b) =>
      shape('M0 3.6Q2.6 3.2 4.5 0Q6.4 3.2 9 3.6V4.6H0z', '#9a9a92') +
      rect(1.8, 4.4, 5.4, 3, a) +
      rect(3.2, 4.7, 2.6, 2.5, b) +
      rect(0.9, 7.2, 7.2, 1.1, '#9a9a92') +
      shape('M3.4 8.2H5.6L6.2 11H2.8z', '#86867f'),
  },
  {
    slot: 'mailbox',
    city: 'vinterhal',
    name: 'hydrant',
    width: 8,
    height: 10,
    colors: [
      ['red', 'white'],
      ['yellow', 'white'],
      ['blue', 'yellow'],
    ],
    draw: (a, b) =>
      shape('M1.8 3Q2 0 4 0Q6 0 6.2 3z', a) +
      rect(1.3, 2.6, 5.4, 1.2, b) +
      rect(2, 3.8, 4, 5, a) +
      rect(0, 4.6, 8, 2.2, a) +
      circle(4, 5.7, 1.2, b) +
      rect(1, 8.6, 6, 1.4, a),
  },
];

/** The kinds of a slot, in the cities' order. */
export function kindsOf(slot: Slot): Kind[] {
  return KINDS.filter((kind) => kind.slot === slot);
}
