// Unpacks zip files (LibTorch's archives, Python's wheels) with Node alone: a machine without compilers may have neither unzip nor cmake.
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw, inflateRawSync } from 'node:zlib';
import { SetupError } from './steps.mjs';

const small = 4 << 20;
const atMost = 0xffff_ffff;

function read(handle, start, length) {
  const buffer = Buffer.alloc(length);
  const got = fs.readSync(handle, buffer, 0, length, start);
  return buffer.subarray(0, got);
}

/** Where the central directory is, and how many entries it has; of zip64 too. */
function directoryOf(handle, size, file) {
  const tail = read(handle, Math.max(0, size - 65_557), Math.min(size, 65_557)); // the end record and the longest comment
  const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0) throw new SetupError(`${path.basename(file)} is not a zip file`);
  const locator = end - 20;
  if (locator >= 0 && tail.readUInt32LE(locator) === 0x07064b50) {
    const record = read(handle, Number(tail.readBigUInt64LE(locator + 8)), 56);
    return {
      count: Number(record.readBigUInt64LE(32)),
      size: Number(record.readBigUInt64LE(40)),
      start: Number(record.readBigUInt64LE(48)),
    };
  }
  return { count: tail.readUInt16LE(end + 10), size: tail.readUInt32LE(end + 12), start: tail.readUInt32LE(end + 16) };
}

/** The entries of the central directory: { name, method, packed, size, offset, mode }. */
function entriesOf(handle, file) {
  const { count, size, start } = directoryOf(handle, fs.fstatSync(handle).size, file);
  const directory = read(handle, start, size);
  const entries = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== 0x02014b50)
      throw new SetupError(`${path.basename(file)} is damaged: it ends within its list of files`);
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => directory.readUInt16LE(at + field));
    const entry = {
      name: directory.toString('utf8', at + 46, at + 46 + nameLength),
      method: directory.readUInt16LE(at + 10),
      packed: directory.readUInt32LE(at + 20),
      size: directory.readUInt32LE(at + 24),
      offset: directory.readUInt32LE(at + 42),
      mode: directory.readUInt32LE(at + 38) >>> 16,
    };
    // zip64: what does not fit 32 bits follows in an extra field, in this order.
    const extraEnd = at + 46 + nameLength + extraLength;
    for (let field = at + 46 + nameLength; field + 4 <= extraEnd; field += 4 + directory.readUInt16LE(field + 2)) {
      if (directory.readUInt16LE(field) !== 1) continue;
      let value = field + 4;
      for (const key of ['size', 'packed', 'offset']) {
        if (entry[key] !== atMost) continue;
        entry[key] = Number(directory.readBigUInt64LE(value));
        value += 8;
      }
    }
    entries.push(entry);
    at = extraEnd + commentLength;
  }
  return entries;
}

async function extract(handle, file, folder, entry) {
  const target = path.join(folder, entry.name);
  if (!target.startsWith(folder + path.sep) || entry.name.includes('\\'))
    throw new SetupError(`${path.basename(file)} has a file outside of its folder: ${entry.name}`);
  if (entry.name.endsWith('/')) return void fs.mkdirSync(target, { recursive: true });
  if (entry.method !== 0 && entry.method !== 8)
    throw new SetupError(`${path.basename(file)} uses a compression (${entry.method}) that is not supported`);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  const local = read(handle, entry.offset, 30);
  const start = entry.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  const mode = entry.mode & 0o111 ? 0o755 : 0o644;
  if (entry.size <= small && entry.packed <= small) {
    const packed = read(handle, start, entry.packed);
    const content = entry.method === 0 ? packed : inflateRawSync(packed);
    const isLink = (entry.mode & 0o170000) === 0o120000;
    if (isLink) fs.symlinkSync(content.toString(), target);
    else fs.writeFileSync(target, content, { mode });
    return check(entry, content.length, file);
  }
  const source = fs.createReadStream(file, { start, end: start + entry.packed - 1, highWaterMark: 1 << 20 });
  const steps = entry.method === 0 ? [source] : [source, createInflateRaw({ chunkSize: 1 << 20 })];
  await pipeline(...steps, fs.createWriteStream(target, { mode }));
  check(entry, fs.statSync(target).size, file);
}

function check(entry, size, file) {
  if (size !== entry.size) throw new SetupError(`${path.basename(file)} is damaged at ${entry.name}`);
}

/**
 * Unpacks `file` into `folder`. Sizes are checked, sums are not: downloads have been, by their SHA-256 or by pip.
 * @param wanted which entries, by name; all of them if undefined
 * @returns the names that were unpacked
 */
export async function unzip(file, folder, wanted = () => true) {
  const handle = fs.openSync(file, 'r');
  try {
    const chosen = entriesOf(handle, file).filter(({ name }) => wanted(name));
    for (const entry of chosen) await extract(handle, file, path.resolve(folder), entry);
    return chosen.map(({ name }) => name);
  } finally {
    fs.closeSync(handle);
  }
}

/** One file of a zip file as text; undefined if there is none that fits. */
export function readZipped(file, wanted) {
  const handle = fs.openSync(file, 'r');
  try {
    const entry = entriesOf(handle, file).find(({ name }) => wanted(name));
    if (!entry) return undefined;
    const local = read(handle, entry.offset, 30);
    const packed = read(handle, entry.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28), entry.packed);
    return (entry.method === 0 ? packed : inflateRawSync(packed)).toString('utf8');
  } finally {
    fs.closeSync(handle);
  }
}
