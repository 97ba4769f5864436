// Fingerprints: sha256 over canonical JSON (sorted keys), so that equal settings have equal fingerprints however they were written down.
import { createHash } from 'node:crypto';
import { sha256 } from '../util/sha256.js';

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

export function fingerprintOf(value: Json): string {
  return sha256(canonicalJson(value));
}

/** The 64-bit key of an image's random control patches: the first 8 bytes, little-endian, of sha256 of its path in the dataset. */
export function randomKey(path: string): bigint {
  return createHash('sha256').update(path).digest().readBigUInt64LE(0);
}
