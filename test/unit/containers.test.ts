// Datasets in tar shards and Parquet files: which images with which labels, and that each is read again by its name alone.
import { mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import sharp from 'sharp';
import { memberOf } from '../../src/data/bytes/names.js';
import { ParquetFile } from '../../src/data/bytes/parquet.js';
import type { ByteSource } from '../../src/data/bytes/byte-source.js';
import { openSource } from '../../src/data/bytes/source.js';
import { tarMembers } from '../../src/data/bytes/tar.js';
import { contentOf } from '../../src/data/checksums.js';
import { openDataset, readImage, type Dataset } from '../../src/data/index.js';
import { query } from '../../src/runs/tables.js';
import { sha256 } from '../../src/util/sha256.js';
import { writeImageParquet, writeTar } from '../helpers/containers.js';
import { temporaryFolder } from '../helpers/folders.js';

const folder = temporaryFolder();
/** A plain image per gray level; the level tells which it is. */
let pngs: Buffer[];
const level = (i: number): number => 10 * i + 5;

beforeAll(async () => {
  pngs = await Promise.all(
    Array.from({ length: 12 }, async (_, i) =>
      sharp({ create: { width: 24, height: 16, channels: 3, background: { r: level(i), g: level(i), b: level(i) } } })
        .png()
        .toBuffer(),
    ),
  );
});

const png = (i: number): Buffer => pngs[i] as Buffer;
const where = (name: string): string => {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
};
/** What each image of a dataset is, by its pixels. */
async function levels({ images }: Dataset): Promise<number[]> {
  const read = [];
  for (const { file } of images) {
    const { pixels } = await readImage(file, { size: 'source', rule: 'floor', multiple: 1, patch: 1 });
    read.push(((pixels[0] as number) - 5) / 10);
  }
  return read;
}
const labelsOf = ({ images }: Dataset): string[] => images.map(({ label }) => label);

/** Counts the bytes that are read of a source. */
function counted(source: ByteSource): ByteSource & { bytes: number } {
  const counting = {
    name: source.name,
    size: source.size,
    mtime: source.mtime,
    bytes: 0,
    read: async (begin: number, end: number): Promise<Buffer> => {
      const read = await source.read(begin, end);
      counting.bytes += read.length;
      return read;
    },
    stream: (begin?: number) => source.stream(begin),
    close: async () => source.close(),
  };
  return counting;
}

describe('tar shards', () => {
  test('samples with .cls, .txt and .json, over a pattern of shards; images are read by their place', async () => {
    const at = where('shards');
    const sample = (i: number): [string, Buffer | string][] => [
      [`s/${i}.png`, png(i)],
      [`s/${i}.cls`, `${i % 2}\n`],
      [`s/${i}.txt`, `image ${i}`],
      [`s/${i}.json`, JSON.stringify({ year: 1900 + i, tags: ['a', 'b'], box: { x: 1 }, off: null })],
    ];
    for (const shard of [0, 1, 2])
      await writeTar(
        join(at, `train-00${shard}.tar`),
        [0, 1, 2, 3].flatMap((i) => sample(4 * shard + i)),
      );
    const dataset = await openDataset(join(at, 'train-{000..002}.tar'));
    expect(dataset.root).toBe(at);
    expect(labelsOf(dataset)).toEqual(Array.from({ length: 12 }, (_, i) => String(i % 2)));
    expect(await levels(dataset)).toEqual(Array.from({ length: 12 }, (_, i) => i));
    const first = dataset.images.at(0);
    expect(first.path).toMatch(/^train-000\.tar#0*512\+\d+\/s\/0\.png$/);
    expect(first.bytes).toBe(png(0).length);
    expect(first.extra).toEqual({ txt: 'image 0', year: '1900', tags: 'a|b' });
    expect(await contentOf(first.file)).toBe(sha256(png(0)));
    // another ending, a field of the .json, folders and paths as labels
    expect((await openDataset(at, { labelFrom: 'txt' })).labels).toHaveLength(12);
    expect((await openDataset(at, { labelFrom: 'year', bin: '1900:1910:5' })).labels).toEqual(['1900', '1905']);
    expect((await openDataset(join(at, 'train-*.tar'), { labelFrom: 'folder' })).labels).toEqual(['s']);
    expect((await openDataset(at, { labelFrom: 'train-(\\d+)' })).labels).toEqual(['000', '001', '002']);
    await expect(openDataset(at, { labelFrom: 'score' })).rejects.toThrow(
      /has no 'score'; it has 'cls', 'txt', 'year'/,
    );
    await expect(openDataset(join(at, 'train-{000..004}.tar'))).rejects.toThrow(/2 of the 5 files of .* are missing/);
    // the same file by a link to another place has the same images
    expect((await openDataset(at)).fingerprint).toBe(dataset.fingerprint);
  });

  test('long names, pax and GNU headers, other files; only headers are read of large members', async () => {
    const at = where('names');
    const long = `${'deep/'.repeat(60)}é ${'x'.repeat(90)}.png`;
    await writeTar(join(at, 'a.tar'), [
      [long, png(0)],
      ['big.bin', Buffer.alloc(3 * 2 ** 20)],
      ['bigger.bin', Buffer.alloc(5 * 2 ** 20)],
      ['dir/x.png', png(1)],
    ]);
    const source = counted(await openSource(join(at, 'a.tar')));
    const members = [];
    for await (const member of tarMembers(source)) members.push(member);
    expect(members.map(({ name }) => name)).toEqual([long, 'big.bin', 'bigger.bin', 'dir/x.png']);
    expect(source.bytes).toBeLessThan(2 ** 20);
    expect((await source.read(members[3]?.begin ?? 0, (members[3]?.begin ?? 0) + png(1).length)).equals(png(1))).toBe(
      true,
    );
    await source.close();
    const dataset = await openDataset(join(at, 'a.tar'), { labelFrom: 'folder' });
    expect(labelsOf(dataset)).toEqual(['deep', 'dir']);
    expect(dataset.ignoredBy).toEqual({ notImages: 2 });
  });

  test('headers are read once: the next one takes the listing that was kept, until the archive changes', async () => {
    const at = where('kept');
    const file = join(at, 'a.tar');
    await writeTar(file, [
      ['s/0.png', png(0)],
      ['s/0.json', Buffer.from('{"year": 1950}')],
      ['s/readme.doc', Buffer.from('no text that is read')],
    ]);
    const listed = async (): Promise<[ReturnType<typeof labelsOf>, Dataset['ignoredBy']]> => {
      const dataset = await openDataset(file, { labelFrom: 'year' });
      return [labelsOf(dataset), dataset.ignoredBy];
    };
    const first = await listed();
    expect(first).toEqual([['1950'], { notImages: 1 }]);
    const { size, atimeNs, mtimeNs } = statSync(file, { bigint: true });
    const times = [Number(atimeNs) / 1e9, Number(mtimeNs) / 1e9] as const;
    utimesSync(file, ...times); // as precise as they can be set
    await listed();
    writeFileSync(file, Buffer.alloc(Number(size), 'x'));
    utimesSync(file, ...times);
    expect(await listed()).toEqual(first);
    utimesSync(file, times[0], times[1] + 1);
    await expect(listed()).rejects.toThrow(/is not a tar archive/);
  });

  test('texts that are not UTF-8 are an error: their labels could become one; JSON may have NaN', async () => {
    const file = join(where('latin'), 'a.tar');
    await writeTar(file, [
      ['1.png', png(0)],
      ['1.cls', Buffer.from('Z\xfcrich', 'latin1')],
    ]);
    await expect(openDataset(file)).rejects.toThrow(/a\.tar', 1\.cls: not UTF-8/);
    const json = join(where('latin'), 'b.tar');
    await writeTar(json, [
      ['1.png', png(0)],
      ['1.json', '\ufeff{"label": "a", "score": NaN}'],
    ]);
    expect(labelsOf(await openDataset(json))).toEqual(['a']);
    const long = ['12345678901234567890', '12345678901234567891'];
    await writeTar(json, [
      ['1.png', png(0)],
      ['1.json', `{"box": {"label": 5}, "label": ${long[0]}}`],
      ['2.png', png(1)],
      ['2.json', `{"label": ${long[1]}}`],
    ]);
    expect(labelsOf(await openDataset(json))).toEqual(long);
  });

  test('what is no archive, is compressed or cut short is an error', async () => {
    const at = where('broken');
    writeFileSync(join(at, 'text.tar'), 'x'.repeat(2000));
    writeFileSync(join(at, 'zip.tar'), Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(1000)]));
    writeFileSync(join(at, 'shard.tar.gz'), Buffer.from([0x1f, 0x8b]));
    await expect(openDataset(join(at, 'shard.tar.gz'))).rejects.toMatchObject({
      hint: expect.stringMatching(/^Decompress it/) as string,
    });
    await writeTar(join(at, 'whole.tar'), [
      ['a/1.png', png(0)],
      ['a/2.png', Buffer.alloc(5000)],
    ]);
    writeFileSync(join(at, 'cut.tar'), readFileSync(join(at, 'whole.tar')).subarray(0, 3000));
    await expect(openDataset(join(at, 'text.tar'))).rejects.toThrow(/is not a tar archive/);
    await expect(openDataset(join(at, 'zip.tar'))).rejects.toThrow(/is compressed/);
    await expect(openDataset(join(at, 'cut.tar'), { labelFrom: 'folder' })).rejects.toThrow(/is cut short/);
    const dataset = await openDataset(join(at, 'whole.tar'), { labelFrom: 'folder' });
    await expect(
      readImage(dataset.images.at(1).file, { size: 64, rule: 'floor', multiple: 1, patch: 1 }),
    ).rejects.toThrow(/The image '2.png' cannot be read/);
  });
});

describe('Parquet with image bytes', () => {
  const rows = (from = 0, to = 12): ({ bytes: Uint8Array; path: string | null } | null)[] =>
    Array.from({ length: to - from }, (_, i) => ({ bytes: new Uint8Array(png(from + i)), path: `im${from + i}.png` }));
  const classes = ['cat', 'dog', 'eel'];
  const label = (count: number) =>
    ({
      name: 'label',
      values: Array.from({ length: count }, (_, i) => BigInt(i % 3)),
      type: 'INT64',
      classes,
    }) as const;

  test.each([
    ['one page per row group', { rowGroupSize: 5 }],
    ['many pages', { rowGroupSize: 12, pageSize: 200 }],
    ['uncompressed', { codec: 'UNCOMPRESSED' as const, pageSize: 150 }],
  ])('%s: class names from the metadata, each row by itself, in any order', async (name, options) => {
    const file = join(where(name.replaceAll(' ', '-')), 'train-00000-of-00001.parquet');
    await writeImageParquet(
      file,
      rows(),
      [label(12), { name: 'year', values: rows().map((_, i) => 1900 + i), type: 'DOUBLE' }],
      options,
    );
    const dataset = await openDataset(file);
    expect(labelsOf(dataset)).toEqual(Array.from({ length: 12 }, (_, i) => classes[i % 3]));
    expect(dataset.images.at(3)).toMatchObject({ path: `${basename(file)}#03/im3.png`, extra: { year: '1903' } });
    expect(await levels(dataset)).toEqual(Array.from({ length: 12 }, (_, i) => i));
    const source = await openSource(file);
    const parquet = await ParquetFile.open(source);
    const leaf = parquet.leaves.find(({ path }) => path === 'image.bytes');
    for (const row of [11, 0, 7, 4, 5])
      expect(
        Buffer.from((await parquet.value(row, leaf as NonNullable<typeof leaf>)) as Uint8Array).equals(png(row)),
      ).toBe(true);
    await source.close();
    expect((await openDataset(file, { labelColumn: 'year', bin: 'q2' })).labels).toEqual(['1900-1905', '1906-1911']);
  });

  test.each(['uncompressed', 'snappy', 'gzip', 'brotli', 'lz4', 'lz4_raw', 'zstd'])(
    'compressed by DuckDB: %s',
    async (codec) => {
      const at = where(`codec-${codec}`);
      const noise = Array.from({ length: 3 }, (_, i) => ({
        bytes: Uint8Array.from(
          { length: 50_000 },
          (__, j) => (j % 300 < 100 ? 7 : i * 31 + j * j * 17 + (j >> 3)) & 0xff,
        ),
        path: `noise${i}.png`,
      }));
      const names = { name: 'label', values: ['a', 'b', 'a', 'b', 'a', 'b', 'a'], type: 'STRING' } as const;
      await writeImageParquet(join(at, 'plain'), [...rows(0, 4), ...noise], [names], { codec: 'UNCOMPRESSED' });
      const file = join(at, 'a.parquet');
      await query(`COPY (SELECT * FROM read_parquet('${join(at, 'plain')}')) TO '${file}' (COMPRESSION ${codec})`);
      const dataset = await openDataset(file);
      expect(labelsOf(dataset)).toEqual(names.values);
      for (const [i, one] of [...rows(0, 4), ...noise].entries())
        expect(await contentOf(dataset.images.at(i).file)).toBe(sha256(one?.bytes ?? new Uint8Array()));
    },
  );

  test('one image is read without the rest of its row group', async () => {
    const file = join(where('pages'), 'a.parquet');
    const noise = Array.from({ length: 40 }, (_, i) => ({
      bytes: Uint8Array.from({ length: 5000 }, (__, j) => (i * 31 + j * j * 17 + (j >> 3)) & 0xff),
      path: null,
    }));
    await writeImageParquet(file, noise, [label(40)], { pageSize: 10_000 });
    const source = counted(await openSource(file));
    const parquet = await ParquetFile.open(source);
    const leaf = parquet.leaves.find(({ path }) => path === 'image.bytes') as (typeof parquet.leaves)[number];
    await parquet.value(30, leaf);
    const before = source.bytes;
    expect(Buffer.from((await parquet.value(33, leaf)) as Uint8Array).equals(Buffer.from(noise[33]?.bytes ?? []))).toBe(
      true,
    );
    expect(source.bytes - before).toBeLessThan(40_000);
    await source.close();
  });

  test('rows without an image are skipped when they are read, rows without a label are left out', async () => {
    const file = join(where('nulls'), 'a.parquet');
    const some = rows(0, 4);
    some[1] = null;
    await writeImageParquet(file, some, [{ name: 'label', values: [0n, 1n, null, -1n], type: 'INT64', classes }]);
    const dataset = await openDataset(file);
    expect(labelsOf(dataset)).toEqual(['cat', 'dog']);
    expect(dataset.warnings).toEqual([expect.stringContaining("2 images have no label by 'label' and are left out")]);
    await expect(
      readImage(dataset.images.at(1).file, { size: 64, rule: 'floor', multiple: 1, patch: 1 }),
    ).rejects.toThrow(/cannot be read: its row has no image/);
  });

  test('lists of labels are several labels, and of classes their names; other lists, and NaN, are not read', async () => {
    const at = where('lists');
    writeFileSync(join(at, 'image.png'), png(0));
    const write = async (name: string, select: string): Promise<string> => {
      await query(`COPY (${select}) TO '${join(at, name)}' (FORMAT parquet)`);
      return join(at, name);
    };
    const images = `(SELECT content FROM read_blob('${join(at, 'image.png')}'))`;
    const bytes = await write(
      'bytes.parquet',
      `SELECT ${images} AS image, unnest([['cat', 'dog'], ['cat'], [], NULL]) AS labels, [1.5, 2.5] AS embedding`,
    );
    const dataset = await openDataset(bytes);
    expect(labelsOf(dataset)).toEqual(['cat|dog', 'cat']);
    expect(dataset.images.map(({ extra }) => extra)).toEqual([undefined, undefined]);
    expect(dataset.warnings).toEqual([expect.stringContaining('2 images have no label')]);
    expect(await levels(dataset)).toEqual([0, 0]);
    expect(labelsOf(await openDataset(bytes, { labelFrom: 'embedding' }))[0]).toBe('1.5|2.5');
    const paths = await write(
      'paths.parquet',
      `SELECT 'image.png' AS image, unnest([['cat', 'dog'], ['cat']]) AS label, [1.5] AS embedding, 'nan'::DOUBLE AS score`,
    );
    const table = await openDataset(paths);
    expect(labelsOf(table)).toEqual(['cat', 'cat|dog']);
    expect(table.images.at(0).extra).toBeUndefined();
    const missing = await write('missing.parquet', `SELECT 'image.png' AS image, 'nan'::DOUBLE AS label`);
    await expect(openDataset(missing)).rejects.toThrow(/line 1: 'label' is empty/);
  });

  test('labels are what is written: exact decimals, short floats, dates without a time, names of classes, bytes that are text', async () => {
    const at = where('values');
    writeFileSync(join(at, 'image.png'), png(0));
    const select = async (image: string, label: string): Promise<string[]> => {
      const file = join(at, `${image}.parquet`);
      const content = image === 'bytes' ? `(SELECT content FROM read_blob('${join(at, 'image.png')}'))` : `'image.png'`;
      await query(`COPY (SELECT ${content} AS image, unnest(${label}) AS label) TO '${file}' (FORMAT parquet)`);
      return labelsOf(await openDataset(file)).sort();
    };
    for (const image of ['bytes', 'paths']) {
      expect(await select(image, '[0.57, -1.10, 0.07]::DECIMAL(4, 2)[]')).toEqual(['-1.1', '0.07', '0.57']);
      const long = ['12345678901234567890123456789', '12345678901234567890123456790'];
      expect(await select(image, `['${long[0]}', '${long[1]}']::DECIMAL(38, 0)[]`)).toEqual(long);
      expect(await select(image, '[0.1, 2.5, 16777216]::FLOAT[]')).toEqual(['0.1', '16777216', '2.5']);
      expect(await select(image, "['2020-01-31', '1969-12-31']::DATE[]")).toEqual(['1969-12-31', '2020-01-31']);
    }
    expect(await select('paths', "['Z\u00fcrich'::BLOB]".replace('\u00fc', '\\xC3\\xBC'))).toEqual(['Z\u00fcrich']);
    const { parquetWriteBuffer } = await import('hyparquet-writer');
    const write = (name: string, columns: { name: string; data: unknown[] }[], features?: object): string => {
      const bytes = parquetWriteBuffer({
        schema: [
          { name: 'root', num_children: columns.length },
          ...columns.map((column) => ({
            name: column.name,
            type: 'BYTE_ARRAY' as const,
            converted_type: 'UTF8' as const,
          })),
        ],
        columnData: columns,
        ...(features ? { kvMetadata: [{ key: 'huggingface', value: JSON.stringify({ info: { features } }) }] } : {}),
      });
      writeFileSync(join(at, name), new Uint8Array(bytes));
      return join(at, name);
    };
    const two = { name: 'image', data: ['image.png', 'image.png'] };
    const latin1 = ['Z\u00fcrich', 'Z\u00f6rich'].map((text) => new Uint8Array(Buffer.from(text, 'latin1')));
    await expect(openDataset(write('latin1.parquet', [two, { name: 'label', data: latin1 }]))).rejects.toThrow(
      /latin1\.parquet': the column 'label' has text that is not UTF-8/,
    );
    const [a, b] = ['a', 'b'].map((label) => ({ name: 'label', data: [label, label] })) as [typeof two, typeof two];
    await expect(openDataset(write('twice.parquet', [two, a, b]))).rejects.toThrow(/there are two columns 'label'/);
    const classes = write('classes.parquet', [two, { name: 'label', data: ['1', '0'] }], {
      label: { _type: 'ClassLabel', names: ['cat', 'dog'] },
    });
    expect(labelsOf(await openDataset(classes))).toEqual(['cat', 'dog']);
  });

  test('a folder of splits is its train files; another column is part of the name', async () => {
    const at = where('hub/data');
    await writeImageParquet(join(at, 'train-00000-of-00001.parquet'), rows(0, 4), [label(4)], { column: 'picture' });
    await writeImageParquet(join(at, 'test-00000-of-00001.parquet'), rows(4, 6), [label(2)], { column: 'picture' });
    const dataset = await openDataset(join(folder, 'hub'));
    expect(await levels(dataset)).toEqual([0, 1, 2, 3]);
    expect(dataset.warnings).toEqual([expect.stringContaining('Only the 1 file of the split train')]);
    const test = await openDataset(join(at, 'test-*.parquet'), { imageColumn: 'picture' });
    expect(await levels(test)).toEqual([4, 5]);
    await expect(openDataset(join(at, 'test-*.parquet'), { imageColumn: 'photo' })).rejects.toThrow(
      /has no image bytes in a column 'photo'; there is 'picture.bytes', 'picture.path', 'label'/,
    );
    await expect(openDataset(join(at, 'test-*.parquet'), { labelFrom: 'breed' })).rejects.toThrow(/has no 'breed'/);
  });
});

test('names of containers: what looks like a place in one is escaped in names of files', async () => {
  expect(memberOf('/a/b.tar#12+34/c d/e.png')).toEqual({
    container: '/a/b.tar',
    place: 12,
    size: 34,
    column: undefined,
  });
  expect(memberOf('/a/b.parquet#7:a%2Fb/x')).toEqual({
    container: '/a/b.parquet',
    place: 7,
    size: undefined,
    column: 'a/b',
  });
  expect(memberOf('/a#1+2/b.png')).toBeUndefined();
  const at = where('odd/x.tar#1+2');
  writeFileSync(join(at, 'a.png'), png(3));
  const dataset = await openDataset(join(folder, 'odd'));
  expect(await levels(dataset)).toEqual([3]);
});
