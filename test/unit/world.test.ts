// The synthetic dataset: the same bytes for a seed, boxes around planted elements only, and the documented probabilities.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { openDataset } from '../../src/data/index.js';
import { Random } from '../../src/util/random.js';
import { CITIES, KINDS, kindsOf, SLOTS, type City } from '../../src/tools/world/kinds.js';
import { COURSES, DECADES, drawDecade, peakOf } from '../../src/tools/world/ordered.js';
import { drawScene, MOST_HIDDEN, type Scene } from '../../src/tools/world/scene.js';
import { SIDE } from '../../src/tools/world/scenery.js';
import { drawImage, writeWorld } from '../../src/tools/world/world.js';
import { resultBytes } from '../helpers/bytes.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
const PARTS = ['train', 'heldout', 'boxes.csv', 'world.json'];

async function render({ svg }: Scene): Promise<Buffer> {
  const document = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}" viewBox="0 0 ${SIDE} ${SIDE}">${svg}</svg>`;
  return sharp(Buffer.from(document)).flatten({ background: '#000' }).raw().toBuffer();
}

describe('on disk', () => {
  const at = (name: string): string => join(folder, name);

  test('the same seed gives the same bytes, another gives others', async () => {
    const first = await writeWorld({ out: at('first'), images: 5, seed: 3 });
    await writeWorld({ out: at('second'), images: 5, seed: 3 });
    await writeWorld({ out: at('third'), images: 5, seed: 4 });
    expect(resultBytes(at('second'), PARTS)).toEqual(resultBytes(at('first'), PARTS));
    const [one, other] = [resultBytes(at('first'), PARTS), resultBytes(at('third'), PARTS)];
    expect(Object.keys(other)).toEqual(Object.keys(one));
    expect(Object.keys(one).filter((name) => one[name] === other[name])).toEqual([]);
    expect(first).toMatchObject({ train: { images: 24 }, heldout: { images: 6 } });
  });

  test('two datasets of six labels, and a box file that names their images', async () => {
    const sets = await Promise.all(['train', 'heldout'].map((name) => openDataset(join(at('first'), name))));
    for (const { labels, ignored } of sets) expect({ labels, ignored }).toEqual({ labels: [...CITIES], ignored: 0 });
    const images = new Map(sets.flatMap(({ images }) => images.map(({ path, label }) => [path, label] as const)));
    expect(images.size).toBe(30);
    const [header, ...rows] = readFileSync(join(at('first'), 'boxes.csv'), 'utf8')
      .trimEnd()
      .split('\r\n');
    expect(header).toBe('image,label,x,y,w,h,slot,kind,city');
    expect(rows.length).toBeGreaterThan(90);
    for (const row of rows) {
      const [image, label, x, y, w, h, slot, kind, city] = row.split(',');
      expect(images.get(image ?? '')).toBe(label);
      expect(KINDS.find((one) => one.name === kind)).toMatchObject({ slot, city });
      for (const side of [w, h]) expect(Number(side)).toBeGreaterThanOrEqual(6);
      for (const side of [w, h]) expect(Number(side)).toBeLessThanOrEqual(16);
      for (const [start, side] of [
        [x, w],
        [y, h],
      ]) {
        expect(Number(start)).toBeGreaterThanOrEqual(0);
        expect(Number(start) + Number(side)).toBeLessThanOrEqual(64.01);
      }
    }
    expect(JSON.parse(readFileSync(join(at('first'), 'world.json'), 'utf8'))).toMatchObject({
      format: 'diffmine-world-2',
      seed: 3,
      images: 5,
      cities: { oskava: { roof: 'pagoda' } },
    });
  });

  test('more images leave the first as they are; without held-out images there is one set', async () => {
    const more = await writeWorld({ out: at('more'), images: 7, seed: 3, heldout: 0 });
    expect(more.heldout.images).toBe(0);
    const [few, many] = [resultBytes(at('first'), ['train']), resultBytes(at('more'), ['train'])];
    expect(many).toMatchObject(few);
    // and the other way round: images that are all held out
    const none = await writeWorld({ out: at('none'), images: 2, seed: 3, heldout: 1 });
    expect([none.train.images, none.heldout.images, existsSync(none.train.path)]).toEqual([0, 12, false]);
    expect(readFileSync(join(none.heldout.path, 'oskava', '00000.png'))).toEqual(
      readFileSync(join(at('first'), 'train', 'oskava', '00000.png')),
    );
  });

  test('what it refuses', async () => {
    writeFileSync(join(folder, 'file'), '');
    await expect(writeWorld({ out: folder })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    for (const settings of [{ images: 1 }, { size: 8 }, { heldout: 1.5 }])
      await expect(writeWorld({ out: at('bad'), ...settings })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(writeWorld({ out: at('stopped') }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
  });
});

test('every city has a kind for every slot, and no accent is one city’s alone', () => {
  expect(new Set(KINDS.map(({ name }) => name)).size).toBe(KINDS.length);
  for (const slot of SLOTS) expect(kindsOf(slot).map(({ city }) => city)).toEqual([...CITIES]);
  const cities = new Map<string, Set<City>>();
  for (const { city, colors } of KINDS)
    for (const [main] of colors) cities.set(main, (cities.get(main) ?? new Set()).add(city));
  for (const [color, users] of cities) expect([color, users.size > 1]).toEqual([color, true]);
});

test('planted in 70 % of its city’s images and 5 % of the others’, and seldom hidden', () => {
  const images = 200;
  let all = 0;
  let hidden = 0;
  for (const city of CITIES) {
    const counts = new Map(KINDS.map(({ name }) => [name, 0]));
    for (let number = 0; number < images; number++) {
      const { planted } = drawScene(city, 1, city, number);
      for (const name of new Set(planted.map(({ kind }) => kind.name))) counts.set(name, (counts.get(name) ?? 0) + 1);
      all += planted.length;
      hidden += planted.filter((one) => one.hidden > MOST_HIDDEN).length;
    }
    for (const { name, city: home } of KINDS) {
      const fraction = (counts.get(name) ?? 0) / images;
      // four standard deviations of a fraction of 200
      expect(Math.abs(fraction - (home === city ? 0.7 : 0.05))).toBeLessThan(home === city ? 0.13 : 0.062);
    }
  }
  expect(hidden / all).toBeLessThan(0.02);
});

test('the same street in another city differs in the boxes of what is planted, and there alone', async () => {
  let compared = 0;
  const strays: number[][] = [];
  for (let number = 0; compared < 12; number++) {
    const [one, other] = [drawScene('belmora', 'street', number), drawScene('vinterhal', 'street', number)];
    const full = [one, other].every(
      ({ planted }) => new Set(planted.map(({ kind }) => kind.slot)).size === SLOTS.length,
    );
    if (!full || one.planted.every(({ kind }, i) => kind === other.planted[i]?.kind)) continue;
    compared++;
    const boxes = [...one.planted, ...other.planted];
    const [a, b] = [await render(one), await render(other)];
    const inside = new Map(one.planted.map((planted) => [planted, 0]));
    for (let i = 0; i < a.length; i += 3) {
      const [x, y] = [(i / 3) % SIDE, Math.floor(i / 3 / SIDE)];
      const differs = [0, 1, 2].some((c) => a[i + c] !== b[i + c]);
      // what is drawn may touch the pixel beside its box
      const within = (box: { x: number; y: number; w: number; h: number }): boolean =>
        x > box.x - 2 && x < box.x + box.w + 1 && y > box.y - 2 && y < box.y + box.h + 1;
      if (!differs) continue;
      if (!boxes.some(within)) strays.push([number, x, y]);
      for (const planted of one.planted) if (within(planted)) inside.set(planted, (inside.get(planted) ?? 0) + 1);
    }
    one.planted.forEach((planted, i) => {
      const changed = planted.kind !== other.planted[i]?.kind && planted.hidden < MOST_HIDDEN;
      if (changed) expect((inside.get(planted) ?? 0) / (planted.w * planted.h)).toBeGreaterThan(0.2);
    });
  }
  expect(strays).toEqual([]);
});

test('a larger image shows the same scene, its boxes scaled', async () => {
  const [small, large] = await Promise.all([64, 128].map(async (size) => drawImage('corvant', 5, { seed: 0, size })));
  expect(large?.pixels.length).toBe(128 * 128 * 3);
  expect(large?.boxes.map(({ kind, x, w }) => [kind, Math.round(x / 2), Math.round(w / 2)])).toEqual(
    small?.boxes.map(({ kind, x, w }) => [kind, Math.round(x), Math.round(w)]),
  );
});

test('random numbers are uniform, and streams of like names unlike', () => {
  const first = Array.from({ length: 4000 }, (_, i) => new Random('stream', i).next());
  const mean = first.reduce((sum, value) => sum + value, 0) / first.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.02);
  const lagged =
    first.slice(1).reduce((sum, value, i) => sum + (value - mean) * ((first[i] as number) - mean), 0) / first.length;
  expect(Math.abs(lagged * 12)).toBeLessThan(0.07);
  const random = new Random('normal');
  const normal = Array.from({ length: 4000 }, () => random.normal());
  expect(Math.abs(normal.reduce((sum, value) => sum + value * value, 0) / normal.length - 1)).toBeLessThan(0.1);
});

describe('the ordered world', () => {
  test('kinds come and go: courses rise to one peak and fall, and a slot is filled in nine of ten images of every decade', () => {
    expect([...COURSES.keys()].map(({ name }) => name).sort()).toEqual(KINDS.map(({ name }) => name).sort());
    for (const [kind, course] of COURSES) {
      const peak = DECADES.indexOf(peakOf(kind));
      expect(course).toHaveLength(DECADES.length);
      expect(course[peak]).toBeGreaterThan(0.4);
      for (let decade = 1; decade < course.length; decade++) {
        const [before, now] = [course[decade - 1] as number, course[decade] as number];
        if (decade <= peak) expect(now).toBeGreaterThanOrEqual(before);
        else expect(now).toBeLessThanOrEqual(before);
      }
    }
    for (const slot of SLOTS)
      for (const decade of DECADES.keys())
        expect(kindsOf(slot).reduce((sum, kind) => sum + (COURSES.get(kind)?.[decade] ?? 0), 0)).toBeCloseTo(0.9, 3);
  });

  test('the fraction of a decade’s images that hold a kind follows its course', () => {
    const images = 60;
    for (const [at, decade] of DECADES.entries()) {
      const counts = new Map<string, number>();
      for (let number = 0; number < images; number++)
        for (const name of new Set(drawDecade(decade, 1, decade, number).planted.map(({ kind }) => kind.name)))
          counts.set(name, (counts.get(name) ?? 0) + 1);
      for (const [kind, course] of COURSES) {
        const expected = course[at] as number;
        const error = Math.sqrt((expected * (1 - expected)) / images);
        expect(Math.abs((counts.get(kind.name) ?? 0) / images - expected)).toBeLessThan(4 * error + 1e-3);
      }
    }
  });

  test('on disk: a folder per decade, boxes that say when their kind is most common, and the courses', async () => {
    const out = join(folder, 'ordered');
    const made = await writeWorld({ out, images: 4, seed: 3, ordered: true, heldout: 0.5 });
    expect(made).toMatchObject({ train: { images: 16 }, heldout: { images: 16 }, labels: [...DECADES] });
    expect((await openDataset(made.train.path)).labels).toEqual([...DECADES]);
    const [header, first] = readFileSync(made.boxes.path, 'utf8').split('\r\n');
    expect(header).toBe('image,label,x,y,w,h,slot,kind,decade');
    const [image, label, , , , , slot, kind, decade] = (first ?? '').split(',');
    expect([image, label]).toEqual(['1900s/00000.png', '1900s']);
    const { courses, labels } = JSON.parse(readFileSync(join(out, 'world.json'), 'utf8')) as {
      courses: Record<string, Record<string, number[]>>;
      labels: string[];
    };
    const course = courses[slot ?? '']?.[kind ?? ''] ?? [];
    expect(labels[course.indexOf(Math.max(...course))]).toBe(decade);
  });
});
