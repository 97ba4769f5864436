// A prefix in a bucket of an object store that speaks S3.
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import { naming } from '../disk.js';
import { DiffmineError } from '../errors.js';
import { parsePlace } from '../place.js';
import { together } from '../together.js';
import { connect, isPassing, load, statusOf, type Failure, type Sdk } from './client.js';
import { makeFolder } from '../paths.js';

/** How long a store that does not answer is asked again, ms: a restart of its server is waited for. */
const PATIENCE = 300_000;
/** Tries of a conditional put that meets another one under way (409). */
const CONFLICTS = 30;

/** An object of a list. `key` is relative to the prefix. */
export interface ObjectInfo {
  key: string;
  size: number;
  /** ms since 1970, by the store's clock */
  modified: number;
}

/** The SDK warns of empty texts. */
const bytes = (data: string | Uint8Array): Uint8Array => (typeof data === 'string' ? Buffer.from(data) : data);

/** A prefix in a bucket. Keys are relative to it. */
export class Bucket {
  private constructor(
    /** as it was given, without a slash at the end */
    readonly place: string,
    private readonly bucket: string,
    private readonly prefix: string,
    private readonly sdk: Sdk,
    private readonly client: S3Client,
    /** told once when the store does not answer */
    private readonly onLog: ((line: string) => void) | undefined,
  ) {}

  /** @throws INVALID_ARGUMENT for a malformed place; SETUP without the SDK */
  static async open(place: string, onLog?: (line: string) => void): Promise<Bucket> {
    const { bucket, prefix } = parsePlace(place);
    return new Bucket(place.replace(/\/+$/, ''), bucket, prefix, await load(), await connect(), onLog);
  }

  private key(name: string): string {
    return this.prefix ? `${this.prefix}/${name}` : name;
  }

  private error(error: unknown, what: string): DiffmineError {
    const status = statusOf(error);
    const { name = '', message = '' } = error as Failure;
    const why = `${this.place}: ${what} failed (${[status, name || 'Error'].filter(Boolean).join(' ')}${message && message !== name ? `: ${message}` : ''}).`;
    const hint =
      name === 'CredentialsProviderError' || /credentials/i.test(message)
        ? 'Give credentials as for any AWS tool: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of the machine.'
        : /region is missing/i.test(message)
          ? 'Set AWS_REGION.'
          : name === 'NoSuchBucket'
            ? 'Make the bucket first, or correct its name.'
            : status === 401 || status === 403
              ? 'The credentials need to list, read, write and delete objects of this prefix.'
              : isPassing(error)
                ? 'Check the network and AWS_ENDPOINT_URL. Finished shards are kept: run the same command again.'
                : undefined;
    return new DiffmineError('IO', why, hint, { cause: error });
  }

  /** Asks again while the store does not answer; other failures are thrown as they are. */
  private async ask<T>(what: string, request: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    for (let tries = 0; ; tries += 1) {
      try {
        return await request();
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (performance.now() - begun > PATIENCE) throw this.error(error, what);
        if (tries === 0)
          this.onLog?.(`${this.place} does not answer (${(error as Failure).name ?? 'Error'}): asking again.`);
        await sleep(Math.min(10_000, 250 * 2 ** tries) * (0.5 + Math.random() / 2));
      }
    }
  }

  /** The object, or undefined if there is none. */
  async get(name: string): Promise<Buffer | undefined> {
    try {
      return await this.ask(`reading ${name}`, async () => {
        const { Body } = await this.client.send(
          new this.sdk.GetObjectCommand({ Bucket: this.bucket, Key: this.key(name) }),
        );
        return Buffer.from((await Body?.transformToByteArray()) ?? []);
      });
    } catch (error) {
      if (statusOf(error) === 404 && (error as Failure).name !== 'NoSuchBucket') return undefined;
      throw error instanceof DiffmineError ? error : this.error(error, `reading ${name}`);
    }
  }

  /** Bytes begin ... end of an object. @throws IO if there is none */
  async range(name: string, begin: number, end: number): Promise<Buffer> {
    if (end <= begin) return Buffer.alloc(0);
    try {
      return await this.ask(`reading ${name}`, async () => {
        const { Body } = await this.client.send(
          new this.sdk.GetObjectCommand({
            Bucket: this.bucket,
            Key: this.key(name),
            Range: `bytes=${begin}-${end - 1}`,
          }),
        );
        return Buffer.from((await Body?.transformToByteArray()) ?? []);
      });
    } catch (error) {
      throw error instanceof DiffmineError ? error : this.error(error, `reading ${name}`);
    }
  }

  /** The bytes of an object from `begin` on as a stream, for one reading. @throws IO if there is none */
  async stream(name: string, begin = 0): Promise<Readable> {
    try {
      const { Body } = await this.ask(`reading ${name}`, async () =>
        this.client.send(
          new this.sdk.GetObjectCommand({
            Bucket: this.bucket,
            Key: this.key(name),
            ...(begin > 0 ? { Range: `bytes=${begin}-` } : {}),
          }),
        ),
      );
      return Body as unknown as Readable;
    } catch (error) {
      throw error instanceof DiffmineError ? error : this.error(error, `reading ${name}`);
    }
  }

  /** Copies an object to a file, whole or not at all. @returns false if there is no such object */
  async download(name: string, file: string): Promise<boolean> {
    const random = Math.random().toString(36).slice(2, 8);
    const temporary = join(dirname(file), `.${basename(file)}.tmp-${process.pid}-${random}`);
    await makeFolder(dirname(file));
    try {
      await this.ask(`reading ${name}`, async () => {
        const { Body } = await this.client.send(
          new this.sdk.GetObjectCommand({ Bucket: this.bucket, Key: this.key(name) }),
        );
        await pipeline(Body as unknown as Readable, createWriteStream(temporary));
      });
      await rename(temporary, file);
      return true;
    } catch (error) {
      if (statusOf(error) === 404 && (error as Failure).name !== 'NoSuchBucket') return false;
      throw error instanceof DiffmineError || (error as Failure).code
        ? naming(file, error)
        : this.error(error, `reading ${name}`);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Writes an object; what was there is replaced. */
  async put(name: string, data: string | Uint8Array): Promise<void> {
    try {
      await this.ask(`writing ${name}`, async () =>
        this.client.send(
          new this.sdk.PutObjectCommand({ Bucket: this.bucket, Key: this.key(name), Body: bytes(data) }),
        ),
      );
    } catch (error) {
      throw error instanceof DiffmineError ? error : this.error(error, `writing ${name}`);
    }
  }

  /** Copies a file to an object; what was there is replaced. */
  async upload(file: string, name: string): Promise<void> {
    const { size } = await stat(file);
    try {
      // a stream cannot be sent twice: each try opens the file again
      await this.ask(`writing ${name}`, async () =>
        this.client.send(
          new this.sdk.PutObjectCommand({
            Bucket: this.bucket,
            Key: this.key(name),
            Body: size === 0 ? Buffer.alloc(0) : createReadStream(file),
            ContentLength: size,
          }),
        ),
      );
    } catch (error) {
      throw error instanceof DiffmineError || (error as Failure).code === 'ENOENT'
        ? error
        : this.error(error, `writing ${name}`);
    }
  }

  /**
   * Writes an object that nobody has written (If-None-Match: *).
   *
   * @returns false if there is one. That may be one's own: the answer to the first try can be lost, and the second try then meets it. Compare before
   *   concluding that another process was first.
   */
  async putNew(name: string, data: string | Uint8Array): Promise<boolean> {
    for (let conflicts = 0; ; conflicts += 1) {
      try {
        await this.ask(`writing ${name}`, async () =>
          this.client.send(
            new this.sdk.PutObjectCommand({
              Bucket: this.bucket,
              Key: this.key(name),
              Body: bytes(data),
              IfNoneMatch: '*',
            }),
          ),
        );
        return true;
      } catch (error) {
        if (statusOf(error) === 412) return false;
        if (statusOf(error) !== 409 || conflicts >= CONFLICTS)
          throw error instanceof DiffmineError ? error : this.error(error, `writing ${name}`);
        await sleep(Math.min(2000, 50 * 2 ** conflicts) * Math.random());
      }
    }
  }

  /** Size and time of an object; undefined if there is none. */
  async head(name: string): Promise<Omit<ObjectInfo, 'key'> | undefined> {
    try {
      const { ContentLength = 0, LastModified } = await this.ask(`reading ${name}`, async () =>
        this.client.send(new this.sdk.HeadObjectCommand({ Bucket: this.bucket, Key: this.key(name) })),
      );
      return { size: ContentLength, modified: LastModified?.getTime() ?? 0 };
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error instanceof DiffmineError ? error : this.error(error, `reading ${name}`);
    }
  }

  /**
   * Objects whose keys begin with `start`, in the order of their keys.
   *
   * @param flat also those with a further slash; else only what lies directly below
   */
  async *list(start: string, { flat = true }: { flat?: boolean } = {}): AsyncGenerator<ObjectInfo> {
    let token: string | undefined;
    const skip = this.key('').length;
    do {
      const page = await this.ask(`listing ${start}`, async () =>
        this.client.send(
          new this.sdk.ListObjectsV2Command({
            Bucket: this.bucket,
            Prefix: this.key(start),
            ...(flat ? {} : { Delimiter: '/' }),
            ...(token === undefined ? {} : { ContinuationToken: token }),
          }),
        ),
      ).catch((error: unknown) => {
        throw error instanceof DiffmineError ? error : this.error(error, `listing ${start}`);
      });
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? [])
        yield { key: Key.slice(skip), size: Size, modified: LastModified?.getTime() ?? 0 };
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  /** Removes objects; those that are not there count as removed. */
  async remove(names: Iterable<string>): Promise<void> {
    await together([...names], async (name) => {
      try {
        await this.ask(`removing ${name}`, async () =>
          this.client.send(new this.sdk.DeleteObjectCommand({ Bucket: this.bucket, Key: this.key(name) })),
        );
      } catch (error) {
        if (statusOf(error) === 404) return;
        throw error instanceof DiffmineError ? error : this.error(error, `removing ${name}`);
      }
    });
  }

  /** Removes all that begins with `start`. */
  async removeAll(start: string): Promise<void> {
    const names: string[] = [];
    for await (const { key } of this.list(start)) names.push(key);
    await this.remove(names);
  }

  /**
   * Refuses a store that lets two writers win.
   *
   * @throws IO if the second conditional put of a key succeeds, or the store cannot be reached or written
   */
  async check(): Promise<void> {
    const name = `.probe-${process.pid}-${Math.random().toString(36).slice(2, 10)}`;
    try {
      await this.putNew(name, 'first');
      const second = await this.putNew(name, 'second');
      if (second || (await this.get(name))?.toString() !== 'first')
        throw new DiffmineError(
          'IO',
          `${this.place}: this store does not honor conditional puts (If-None-Match): of two that write one key, both are told that they won.`,
          'Use a store that does: Amazon S3, Ceph, MinIO, Cloudflare R2; or a directory that all share.',
        );
    } finally {
      await this.remove([name]).catch(() => undefined);
    }
  }
}
