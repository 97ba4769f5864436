// Reads images inside of containers by their names (names.ts).
import { Kept } from '../../util/kept.js';
import type { Member } from './names.js';
import { readRemote } from './remote.js';
import { ParquetFile, type Leaf } from './parquet.js';
import type { ByteSource } from './byte-source.js';
import { openSource } from './source.js';

/** Containers that are kept open. */
const OPEN = 16;
/** Bytes of images that are kept: a scan reads an image's header, its pixels and its checksum one after the other. */
const KEPT = 64 * 2 ** 20;

interface Opened {
  source: ByteSource;
  parquet?: ParquetFile;
  /** reads under way */
  users: number;
}

const opened = new Map<string, Promise<Opened>>();
const kept = new Kept<string, Buffer>(KEPT, ({ length }) => length);

async function openContainer(name: string): Promise<Opened> {
  const source = await openSource(name);
  return /\.parquet$/i.test(name)
    ? { source, parquet: await ParquetFile.open(source), users: 0 }
    : { source, users: 0 };
}

async function withContainer<T>(name: string, work: (container: Opened) => Promise<T>): Promise<T> {
  const known = opened.get(name) ?? openContainer(name);
  opened.delete(name);
  opened.set(name, known);
  let container: Opened;
  try {
    container = await known;
  } catch (error) {
    opened.delete(name);
    throw error;
  }
  container.users += 1;
  try {
    return await work(container);
  } finally {
    container.users -= 1;
    for (const [other, promise] of opened) {
      if (opened.size <= OPEN) break;
      const one = await promise.catch(() => undefined);
      if (one?.users !== 0 || opened.get(other) !== promise) continue;
      opened.delete(other);
      await one.source.close();
    }
  }
}

/** The column of image bytes: a struct of `bytes` and `path` as Hugging Face datasets have it, or a column of bytes. @param named the column to take */
export function imageLeaf(file: ParquetFile, named?: string): Leaf | undefined {
  const binary = file.leaves.filter(({ isBinary }) => isBinary);
  if (named !== undefined) return binary.find(({ path }) => path === named || path === `${named}.bytes`);
  return (
    binary.find(({ path }) => path === 'image.bytes') ??
    binary.find(({ path }) => path.endsWith('.bytes')) ??
    binary.find(({ path }) => ['image', 'jpg', 'jpeg', 'png', 'webp', 'bytes'].includes(path))
  );
}

/** The bytes of an image in a container. Throws what reading throws; an Error with the reason for a row without an image. */
export async function readMember(name: string, member: Member): Promise<Buffer> {
  if (member.place === undefined) return kept.get(name, async () => readRemote(name));
  const { place } = member;
  return kept.get(name, async () =>
    withContainer(member.container, async (container) => bytesOf(container, { ...member, place })),
  );
}

async function bytesOf(
  { source, parquet }: Opened,
  { place, size, column }: Member & { place: number },
): Promise<Buffer> {
  if (!parquet) {
    const read = await source.read(place, place + (size ?? 0));
    if (read.length !== size) throw new Error('its archive is shorter than when it was listed');
    return read;
  }
  const image = imageLeaf(parquet, column);
  if (!image) throw new Error('its table has no column of image bytes');
  const value = await parquet.value(place, image);
  if (!(value instanceof Uint8Array)) throw new Error('its row has no image');
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}
