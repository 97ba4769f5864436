// What surrounds the planted kinds, as SVG: sky, far ridge, walls, roofs, doors, plain windows, street, clutter and weather. None of it knows the city.
import { GLASS, GLOW, IRON, PALETTE, circle, rect, shape, stroke, type Color } from './drawing.js';
import { Random } from '../../util/random.js';

/** The SVG's own unit: an image is SIDE units wide and high, whatever its size in pixels. */
export const SIDE = 64;

/** In SVG units. */
export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Facade extends Box {
  wall: string;
}

/** Something in front of the houses: a box, or the ellipse that fills it. */
export interface Cover extends Box {
  round: boolean;
}

export type Weather = 'clear' | 'clouds' | 'rain' | 'snow' | 'fog';

const ROOFING = ['#6d4036', '#4f5560', '#7a5237', '#5c6660', '#8a4a3a', '#3f4650'];
const ACCENTS = Object.keys(PALETTE) as Color[];

export const n = (value: number): string => value.toFixed(2);
export const overlap = (a: Box, b: Box, margin = 0): boolean =>
  a.x < b.x + b.w + margin && b.x < a.x + a.w + margin && a.y < b.y + b.h + margin && b.y < a.y + a.h + margin;

/** The fraction of `box` that `covers` hide, on a grid of 12 x 12 points. */
export function hiddenFraction(box: Box, covers: readonly Cover[]): number {
  const points = 12;
  let hidden = 0;
  for (let i = 0; i < points * points; i++) {
    const x = box.x + (box.w * ((i % points) + 0.5)) / points;
    const y = box.y + (box.h * (Math.floor(i / points) + 0.5)) / points;
    const inFront = covers.some(({ round, ...cover }) => {
      const u = (x - cover.x) / cover.w;
      const v = (y - cover.y) / cover.h;
      return round ? (u - 0.5) ** 2 + (v - 0.5) ** 2 <= 0.25 : u >= 0 && u <= 1 && v >= 0 && v <= 1;
    });
    if (inFront || x < 0 || x > SIDE || y < 0 || y > SIDE) hidden++;
  }
  return hidden / points ** 2;
}

export function drawSky(random: Random, [top, bottom]: [string, string], weather: Weather): string {
  const gradient = `<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="${top}"/><stop offset="0.8" stop-color="${bottom}"/></linearGradient></defs>`;
  let sky = gradient + rect(-1, -1, SIDE + 2, SIDE + 2, 'url(#sky)');
  const clouds = weather === 'clear' ? random.whole(0, 2) : random.whole(2, 5);
  for (let i = 0; i < clouds; i++) {
    const x = random.between(0, SIDE);
    const y = random.between(0, 14);
    for (let puff = 0; puff < 3; puff++) {
      sky += `<ellipse cx="${n(x + random.between(-5, 5))}" cy="${n(y + random.between(-1.5, 1.5))}" rx="${n(random.between(3, 7))}" ry="${n(random.between(1.2, 2.8))}" fill="#fff" fill-opacity="0.5"/>`;
    }
  }
  return sky;
}

/** A far ridge and towers of no city's kind, seen between the houses. */
export function drawFar(random: Random, ground: number): string {
  let far = '';
  for (let x = -4; x < SIDE; x += random.between(6, 12))
    far += rect(Number(n(x)), Number(n(random.between(20, 28))), 7, ground, '#7f8a96', 'fill-opacity="0.6"');
  return far;
}

export function drawWallTexture(random: Random, { x, y, w, h }: Facade): string {
  const style = random.whole(0, 3);
  let lines = '';
  const step = random.between(1.8, 3);
  if (style === 1) for (let at = y + step; at < y + h; at += step) lines += `M${n(x)} ${n(at)}h${n(w)}`;
  if (style === 2) for (let at = x + step; at < x + w; at += step) lines += `M${n(at)} ${n(y)}v${n(h)}`;
  const edge = stroke(`M${n(x + w)} ${n(y)}v${n(h)}`, '#00000040', 0.7);
  return (lines ? stroke(lines, '#00000018', 0.5) : '') + edge;
}

export function drawRoof(random: Random, { x, y, w }: Facade, flat: boolean): string {
  const color = random.pick(ROOFING);
  const form = random.whole(0, 2);
  const height = random.between(3, 8);
  const chimney = random.chance(0.3)
    ? rect(Number(n(x + w * random.between(0.2, 0.7))), Number(n(y - height - 1)), 2.2, Number(n(height + 1)), color)
    : '';
  if (flat || form === 0) return rect(Number(n(x - 0.5)), Number(n(y - 0.6)), Number(n(w + 1)), 1.6, color);
  const inset = form === 1 ? w / 2 : random.between(2, 5);
  return (
    chimney +
    shape(
      `M${n(x - 0.8)} ${n(y + 0.6)}L${n(x + inset)} ${n(y - height)}H${n(x + w - inset)}L${n(x + w + 0.8)} ${n(y + 0.6)}z`,
      color,
    )
  );
}

export function drawDoor(random: Random, { x, w }: Facade, ground: number, taken: Box[]): string {
  const width = random.between(4, 5.5);
  const door = { x: random.between(x + 1, x + w - width - 1), y: ground - random.between(7.5, 9.5), w: width, h: 10 };
  const color = PALETTE[random.pick(ACCENTS)];
  const style = random.whole(0, 2);
  if (taken.some((box) => overlap(box, door, 0.5))) return '';
  taken.push(door);
  const top =
    style === 0
      ? ''
      : style === 1
        ? rect(Number(n(door.x - 0.8)), Number(n(door.y - 1)), Number(n(width + 1.6)), 1.1, '#d8cfbd')
        : `<ellipse cx="${n(door.x + width / 2)}" cy="${n(door.y)}" rx="${n(width / 2)}" ry="1.8" fill="${color}"/>`;
  return (
    top +
    rect(Number(n(door.x)), Number(n(door.y)), Number(n(width)), Number(n(ground - door.y + 1)), color) +
    rect(Number(n(door.x + 0.9)), Number(n(door.y + 1.2)), Number(n(width - 1.8)), 2, '#00000050') +
    circle(Number(n(door.x + width - 0.9)), Number(n(ground - 3.4)), 0.4, GLOW)
  );
}

export function drawPlainWindows(
  random: Random,
  facade: Facade,
  ground: number,
  taken: readonly Box[],
  lit: number,
): string {
  const [w, h] = [random.between(3.2, 4.6), random.between(4, 6)];
  const [across, down] = [w + random.between(2, 4), h + random.between(2.2, 4)];
  const frame = random.pick(['#efebe0', '#ddd6c6', '#4a4640', '#8a7a66']);
  const bars = random.chance(0.6);
  const margin = (facade.w - Math.floor((facade.w - 2) / across) * across) / 2;
  let drawn = '';
  for (let y = facade.y + 3; y + h < ground - 1; y += down) {
    for (let x = facade.x + margin + 0.8; x + w < facade.x + facade.w - 0.8; x += across) {
      const glass = random.chance(lit) ? GLOW : random.pick([GLASS, GLASS, '#4a6078', '#6d8aa5']);
      const awning = random.chance(0.08) ? PALETTE[random.pick(ACCENTS)] : undefined;
      if (taken.some((box) => overlap(box, { x, y, w, h }, 0.4))) continue;
      drawn +=
        rect(Number(n(x)), Number(n(y)), Number(n(w)), Number(n(h)), frame) +
        rect(Number(n(x + 0.6)), Number(n(y + 0.6)), Number(n(w - 1.2)), Number(n(h - 1.2)), glass);
      if (bars) drawn += stroke(`M${n(x + w / 2)} ${n(y)}v${n(h)}`, frame, 0.5);
      if (awning) drawn += rect(Number(n(x - 0.6)), Number(n(y - 0.6)), Number(n(w + 1.2)), 1.7, awning);
    }
  }
  return drawn;
}

export function drawStreet(random: Random, ground: number, kerb: number, weather: Weather): string {
  const [paving, road] =
    weather === 'snow'
      ? ['#dfe3e6', '#9aa0a6']
      : weather === 'rain'
        ? ['#8d8f93', '#45494f']
        : [random.pick(['#b3aca0', '#a5a5a5', '#bfae94']), random.pick(['#55585c', '#63605c', '#4c4f55'])];
  let street =
    rect(-1, Number(n(ground)), SIDE + 2, SIDE, paving) +
    rect(-1, Number(n(kerb)), SIDE + 2, SIDE, road) +
    stroke(`M-1 ${n(kerb)}H${SIDE + 1}`, '#00000044', 0.7);
  const phase = random.between(0, 10);
  if (random.chance(0.6))
    for (let x = -phase; x < SIDE; x += 10)
      street += rect(Number(n(x)), Number(n(kerb + 5)), 5, 0.8, '#e9e6da', 'fill-opacity="0.8"');
  return street;
}

/** Trees, people, cars, bins and wires: the same in every city, in the planted kinds' colors. */
export function drawClutter(
  random: Random,
  ground: number,
  kerb: number,
  slots: readonly Box[],
  covers: Cover[],
): string[] {
  const parts: string[] = [];
  /** the first of some places that hides little of any slot */
  const place = (draw: () => Cover[]): Cover[] | undefined => {
    for (let tries = 0; tries < 12; tries++) {
      const covering = draw();
      if (slots.every((slot) => hiddenFraction(slot, covering) < 0.25)) return covering;
    }
    return undefined;
  };
  for (let i = random.whole(0, 2); i > 0; i--) {
    const radius = random.between(3, 5.5);
    const height = random.between(6, 12);
    const green = random.pick(['#4d7a3a', '#39683f', '#6d8a3a', '#8a7a35']);
    const found = place(() => {
      const x = random.between(0, SIDE);
      const bottom = ground + random.between(1, 4);
      return [
        { x: x - radius, y: bottom - height - radius, w: 2 * radius, h: 2 * radius, round: true },
        { x: x - 0.6, y: bottom - height, w: 1.2, h: height, round: false },
      ];
    });
    const [crown, trunk] = found ?? [];
    if (!crown || !trunk) continue;
    covers.push(crown, trunk);
    const [x, y] = [crown.x + radius, crown.y + radius];
    parts.push(
      rect(Number(n(trunk.x)), Number(n(trunk.y)), 1.2, Number(n(trunk.h)), '#5a4030'),
      circle(Number(n(x)), Number(n(y)), Number(n(radius)), green),
    );
    for (let leaf = 0; leaf < 6; leaf++)
      parts.push(
        circle(
          Number(n(x + random.between(-0.6, 0.6) * radius)),
          Number(n(y + random.between(-0.6, 0.6) * radius)),
          Number(n(radius * 0.35)),
          random.chance(0.5) ? '#ffffff22' : '#00000022',
        ),
      );
  }
  for (let i = random.whole(0, 3); i > 0; i--) {
    const [coat, height] = [PALETTE[random.pick(ACCENTS)], random.between(5, 7)];
    const [body] =
      place(() => [
        {
          x: random.between(0, SIDE - 2),
          y: ground + random.between(2, kerb - ground) - height,
          w: 1.8,
          h: height,
          round: false,
        },
      ]) ?? [];
    if (!body) continue;
    covers.push(body);
    parts.push(
      rect(Number(n(body.x)), Number(n(body.y + 1.6)), 1.8, Number(n(height * 0.45)), coat),
      rect(Number(n(body.x + 0.3)), Number(n(body.y + height * 0.6)), 1.2, Number(n(height * 0.4)), IRON),
      circle(Number(n(body.x + 0.9)), Number(n(body.y + 0.9)), 0.9, random.pick(['#e0b496', '#a87450', '#6e4a34'])),
    );
  }
  for (let i = random.whole(0, 2); i > 0; i--) {
    const [color, w, h] = [PALETTE[random.pick(ACCENTS)], random.between(13, 18), random.between(5.5, 7)];
    const [car] =
      place(() => [{ x: random.between(-6, SIDE - 8), y: kerb + random.between(3, 9) - h, w, h, round: false }]) ?? [];
    if (!car) continue;
    covers.push(car);
    const at = (u: number, v: number): string => `${n(car.x + u * w)} ${n(car.y + v * h)}`;
    parts.push(
      shape(
        `M${at(0.02, 0.9)}L${at(0, 0.5)}L${at(0.2, 0.42)}L${at(0.32, 0)}L${at(0.72, 0)}L${at(0.85, 0.42)}L${at(1, 0.55)}L${at(1, 0.9)}z`,
        color,
      ),
      shape(
        `M${at(0.26, 0.42)}L${at(0.35, 0.1)}L${at(0.5, 0.1)}L${at(0.5, 0.42)}zM${at(0.55, 0.42)}L${at(0.55, 0.1)}L${at(0.69, 0.1)}L${at(0.79, 0.42)}z`,
        '#bfd3e0',
      ),
      ...[0.22, 0.78].map((u) =>
        circle(Number(n(car.x + u * w)), Number(n(car.y + 0.9 * h)), Number(n(h * 0.2)), '#17171b'),
      ),
    );
  }
  if (random.chance(0.3)) {
    const bag = random.pick(ACCENTS);
    const [bin] =
      place(() => [
        {
          x: random.between(0, SIDE - 4),
          y: ground + random.between(2, kerb - ground) - 4.4,
          w: 3.4,
          h: 4.4,
          round: false,
        },
      ]) ?? [];
    if (bin) {
      covers.push(bin);
      parts.push(
        rect(Number(n(bin.x)), Number(n(bin.y + 0.8)), 3.4, 3.6, PALETTE[bag]),
        rect(Number(n(bin.x - 0.3)), Number(n(bin.y)), 4, 1, IRON),
      );
    }
  }
  if (random.chance(0.3))
    parts.push(
      stroke(
        `M-1 ${n(random.between(4, 14))}Q${SIDE / 2} ${n(random.between(10, 18))} ${SIDE + 1} ${n(random.between(4, 14))}`,
        '#22222a',
        0.4,
      ),
    );
  return parts;
}

export function drawWeather(random: Random, weather: Weather): string {
  const lines: string[] = [];
  switch (weather) {
    case 'rain':
      for (let i = 0; i < 45; i++)
        lines.push(`M${n(random.between(-2, SIDE))} ${n(random.between(-2, SIDE))}l-0.8 3.2`);
      return stroke(lines.join(''), '#dfe8f066', 0.5);
    case 'snow':
      for (let i = 0; i < 60; i++)
        lines.push(
          circle(
            Number(n(random.between(0, SIDE))),
            Number(n(random.between(0, SIDE))),
            Number(n(random.between(0.25, 0.55))),
            '#ffffffcc',
          ),
        );
      return lines.join('');
    case 'fog':
      return rect(-1, -1, SIDE + 2, SIDE + 2, '#d5d9dc', `fill-opacity="${n(random.between(0.15, 0.38))}"`);
    case 'clear':
    case 'clouds':
      return '';
  }
}
