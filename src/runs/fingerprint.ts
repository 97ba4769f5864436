// Fingerprints: sha256 over canonical JSON (sorted keys), so that equal settings have equal fingerprints however they were written down.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { systemPath } from '../data/names.js';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json | undefined };

/** JSON with sorted keys and no spaces; keys whose value is undefined are left out. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const members = Object.keys(value)
      .sort()
      .flatMap((key) => {
        const member = value[key];
        return member === undefined ? [] : [`${JSON.stringify(key)}:${canonicalJson(member)}`];
      });
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value);
}

/** Hex sha256 of a text (UTF-8) or bytes. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

export function fingerprintOf(value: Json): string {
  return sha256(canonicalJson(value));
}

/** Hex sha256 of a file's bytes. */
export async function sha256File(file: string | Buffer): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Hex sha256 of an image's file, by its name (dataset/names.ts); null where it cannot be read. */
export async function contentOf(file: string): Promise<string | null> {
  return sha256File(systemPath(file)).catch(() => null);
}

/** The 64-bit key of an image's random control patches: the first 8 bytes, little-endian, of sha256 of its path in the dataset. */
export function imageKey(path: string): bigint {
  return createHash('sha256').update(path).digest().readBigUInt64LE(0);
}
