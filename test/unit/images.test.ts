// The packed image list against plain arrays of objects.
import fc from 'fast-check';
import { ImageList, ImageListBuilder, type DatasetImage } from '../../src/data/index.js';
import { compareCodePoints } from '../../src/data/order.js';

const name = fc.oneof(
  fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }),
  fc.string({ minLength: 1, maxLength: 6, unit: 'binary' }),
  fc.constantFrom('a', 'b', 'a/b', 'ab', 'a\u{1F600}', 'a\uFF01', '\uD800', '\uDFFF'),
);
const image: fc.Arbitrary<DatasetImage> = fc
  .record({
    path: name,
    label: name,
    bytes: fc.nat(),
    below: fc.boolean(),
    base: fc.constantFrom('/data/', '/other/', ''),
    mtime: fc.option(fc.double({ noNaN: true, min: 0, max: 1e13 })),
    extra: fc.option(fc.dictionary(name, fc.string(), { maxKeys: 3 })),
  })
  .map(({ below, base, mtime, extra, ...one }) => ({
    ...one,
    file: below ? `${base}${one.path}` : `/elsewhere/${one.bytes}`,
    ...(mtime === null ? {} : { mtime }),
    ...(extra && Object.keys(extra).length > 0 ? { extra } : {}),
  }));

/** What the list holds, as an array: sorted, the first of each path and label. */
function plain(images: readonly DatasetImage[]): DatasetImage[] {
  const seen = new Set<string>();
  const first = images.filter(({ path, label }) => {
    const key = JSON.stringify([path, label]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
  return first.sort((a, b) => compareCodePoints(a.path, b.path) || compareCodePoints(a.label, b.label));
}

test('holds what was added, in order, each image under a label once', () => {
  fc.assert(
    fc.property(fc.array(image, { maxLength: 30 }), (images) => {
      const builder = new ImageListBuilder();
      for (const one of images) builder.add(one);
      expect([...builder]).toEqual(images);
      const expected = plain(images);
      const { images: list, repeated } = builder.build();
      expect([...list]).toEqual(expected);
      expect(repeated).toBe(images.length - expected.length);
      for (const one of expected) expect(list.find(one.path, one.label)).toEqual(one);
      expect(list.find('nowhere', 'a')).toBeUndefined();
      expect(list.columns()).toEqual(
        [...new Set(expected.flatMap(({ extra }) => Object.keys(extra ?? {})))].sort(compareCodePoints),
      );
      expect([...list.countByLabel()].reduce((sum, [, count]) => sum + count, 0)).toBe(expected.length);
    }),
  );
});

test('parts of a list', () => {
  fc.assert(
    fc.property(
      fc.array(image, { maxLength: 20 }),
      fc.nat(22),
      fc.nat(22),
      fc.nat(3),
      (images, begin, length, modulus) => {
        const expected = plain(images);
        const list = ImageList.from(images);
        expect([...list.slice(begin, begin + length)]).toEqual(expected.slice(begin, begin + length));
        expect([...list.slice(begin)]).toEqual(expected.slice(begin));
        const odd = (index: number): boolean => index % (modulus + 1) === 0;
        expect([...list.filter(odd)]).toEqual(expected.filter((_, index) => odd(index)));
        expect([...list.slice(begin).filter(odd).slice(1)]).toEqual(
          expected
            .slice(begin)
            .filter((_, index) => odd(index))
            .slice(1),
        );
      },
    ),
  );
});

test('text longer than a buffer, and many folders', () => {
  const long = 'x'.repeat(3_000_000);
  const images = [
    { path: 'a', file: '/a', label: 'l', bytes: 1, extra: { long } },
    { path: long, file: `/${long}`, label: 'l', bytes: 2 },
    { path: 'z', file: '/z', label: 'm', bytes: 3 },
  ];
  expect([...ImageList.from(images)]).toEqual(images);
  const many = Array.from({ length: 5000 }, (_, i) => ({
    path: `${String(i).padStart(5, '0')}.jpg`,
    file: `/${i}/${String(i).padStart(5, '0')}.jpg`,
    label: 'a',
    bytes: i,
  }));
  expect([...ImageList.from(many)]).toEqual(many);
  expect(() => ImageList.from(images).at(3)).toThrow(RangeError);
});
