// Fetches one file into the cache's blobs: resumed where an earlier try ended, checked against its hash, and given its name when it is whole.
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { syncFile } from '../../runs/atomic.js';
import { DiffmineError } from '../../util/errors.js';
import { reasonOf, type HubClient, type HubFile } from './client.js';
import { makeFolder } from '../../util/paths.js';

/** Tries in a row that bring nothing. */
const TRIES = 3;
/** ms before the next one, times their number */
const PAUSE = 500;

/** Of a transfer in progress. Not the name that huggingface_hub writes to: both may fetch one file at once. */
const unfinished = (blob: string): string => `${blob}.diffmine-incomplete`;

/** Bytes of a file that need not be fetched again. */
export async function bytesThere(blob: string): Promise<number> {
  const whole = await sizeOf(blob);
  return whole ?? (await sizeOf(unfinished(blob))) ?? 0;
}

/**
 * @param onBytes told of every piece: how many bytes of the file are there
 * @throws IO if the transfer breaks off again and again (what came is kept), or if the content is not what the hub lists; CANCELLED
 */
export async function fetchBlob(
  client: HubClient,
  commit: string,
  file: HubFile,
  blob: string,
  { signal, onBytes }: { signal?: AbortSignal | undefined; onBytes: (bytes: number) => void },
): Promise<void> {
  await makeFolder(path.dirname(blob));
  if ((await sizeOf(blob)) === file.size) {
    onBytes(file.size);
    return;
  }
  const part = unfinished(blob);
  for (let failures = 0; ;) {
    const before = (await sizeOf(part)) ?? 0;
    try {
      const hash = await transfer(client, commit, file, part, onBytes);
      if (hash !== file.etag) await refuse(file, part, hash);
      break;
    } catch (error) {
      signal?.throwIfAborted();
      const now = (await sizeOf(part)) ?? 0;
      // waiting does not help against refusals, a full disk or a damaged file
      if (!(error instanceof Broken)) throw error;
      failures = now > before ? 1 : failures + 1;
      if (failures >= TRIES)
        throw new DiffmineError(
          'IO',
          `The transfer of '${file.path}' broke off after ${now} of ${file.size} bytes (${reasonOf(error.cause)}).`,
          'Run the same command again to resume it.',
          { cause: error.cause },
        );
      await sleep(PAUSE * failures, undefined, { signal });
    }
  }
  await syncFile(part);
  await rename(part, blob);
}

/** The connection failed, not the server's answer or the disk. */
class Broken extends Error {}

/** Fetches what is missing of `part`. @returns the hash of the whole */
async function transfer(
  client: HubClient,
  commit: string,
  file: HubFile,
  part: string,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const there = (await sizeOf(part)) ?? 0;
  const have = there > file.size ? 0 : there;
  const handle = await open(part, have > 0 ? 'r+' : 'w');
  try {
    let at = have;
    let hash = hashOf(file);
    if (have > 0) for await (const chunk of createReadStream(part)) hash.update(chunk as Buffer);
    if (at < file.size || file.size === 0) {
      const { begin, body } = await client.content(commit, file.path, have);
      if (begin < have) {
        at = 0;
        hash = hashOf(file);
        await handle.truncate(0);
      }
      const pieces = body[Symbol.asyncIterator]();
      for (;;) {
        const next = await pieces.next().catch((cause: unknown) => {
          throw new Broken('broken', { cause });
        });
        if (next.done === true) break;
        const piece = next.value;
        // a disk that is nearly full takes a part of it
        for (let written = 0; written < piece.length;)
          written += (await handle.write(piece, written, piece.length - written, at + written)).bytesWritten;
        hash.update(piece);
        at += piece.length;
        onBytes(Math.min(at, file.size));
        if (at > file.size) break;
      }
    }
    if (at < file.size) throw new Broken('broken', { cause: new Error('the connection was closed') });
    return hash.digest('hex');
  } finally {
    await handle.close();
  }
}

/** Names of blobs are SHA-256 of large files, else what Git calls a blob: SHA-1 of a header and the content. */
function hashOf({ etag, size }: HubFile): Hash {
  return etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
}

async function refuse(file: HubFile, part: string, hash: string): Promise<never> {
  await rm(part, { force: true });
  throw new DiffmineError(
    'IO',
    `'${file.path}' has the hash ${hash} instead of ${file.etag}.`,
    'It was damaged on its way and has been removed. Run the same command again to fetch it.',
  );
}

const sizeOf = async (file: string): Promise<number | undefined> => (await stat(file).catch(() => undefined))?.size;
