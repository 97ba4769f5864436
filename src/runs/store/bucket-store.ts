// A run in a bucket.
//
//     manifest.json                          written once
//     index/SHA256.parquet                   the list of items that the manifest names
//     shards/00007/ATTEMPT/shards/00007/…    files of a shard; several attempts may be there
//     shards/00007.json                      the commit record, written once: the shard is finished, and these are its files
//     rounds/01/shards/…                     likewise
//     NAME                                   every other file of the run's folder, those beside a shard (translated images) too
//
// A temporary folder of the usual layout holds what this process makes and reads.
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bucket } from '../../util/s3/bucket.js';
import { exists, isFolder } from '../../util/paths.js';
import { together } from '../../util/together.js';
import { DiffmineError } from '../../util/errors.js';
import { sha256File } from '../../util/sha256.js';
import { VERSION } from '../../util/version.js';
import { BucketLocks } from './bucket-locks.js';
import { COMMIT_FORMAT, fetchCommitted, keyOf, parseCommit, type Commit, type CommittedFile } from './commit.js';
import { filesIn } from './files.js';
import type { RunStore, ShardStore } from './store.js';

const MANIFEST = 'manifest.json';
const INDEX = 'index.parquet';

/** The finished shards in a bucket. */
class BucketShards implements ShardStore {
  private readonly known = new Map<string, Commit>();

  /** @param shards prefix of the records: 'shards/' */
  constructor(
    private readonly bucket: Bucket,
    private readonly path: string,
    private readonly shards: string,
    private readonly suffix: string,
    /** whether a shard that is kept is needed here no longer */
    private readonly drop: boolean,
  ) {}

  private own(name: string): string {
    return `${this.shards}${name}${this.suffix}`;
  }

  async isDone(name: string): Promise<boolean> {
    return this.known.has(name) || (await this.bucket.head(`${this.shards}${name}.json`)) !== undefined;
  }

  async done(): Promise<string[]> {
    const names: string[] = [];
    for await (const { key } of this.bucket.list(this.shards, { flat: false }))
      if (key.endsWith('.json')) names.push(key.slice(this.shards.length, -'.json'.length));
    return names;
  }

  async commit(name: string, beside: readonly string[] = []): Promise<void> {
    const own = this.own(name);
    const local = join(this.path, own);
    const names = (await isFolder(local)) ? (await filesIn(local)).map((file) => `${own}/${file}`) : [own];
    const attempt = randomUUID();
    const files: CommittedFile[] = [];
    await together([...names, ...beside], async (file) => {
      const at = join(this.path, file);
      files.push({ name: file, size: (await stat(at)).size, sha256: await sha256File(at) });
      await this.bucket.upload(at, keyOf(`${this.shards}${name}`, attempt, file));
    });
    files.sort((a, b) => (a.name < b.name ? -1 : 1));
    const writer = { host: hostname(), pid: process.pid, version: VERSION, date: new Date().toISOString() };
    const commit: Commit = { format: COMMIT_FORMAT, attempt, files, writer };
    const made = await this.bucket.putNew(`${this.shards}${name}.json`, `${JSON.stringify(commit, null, 1)}\n`);
    // where it is not, it may still be this very attempt's: the answer to a put can be lost
    if (!made && (await this.read(name)).attempt !== attempt)
      await this.bucket.remove(names.map((file) => keyOf(`${this.shards}${name}`, attempt, file)));
    if (this.drop)
      for (const file of [own, ...beside]) await rm(join(this.path, file), { recursive: true, force: true });
  }

  private async read(name: string): Promise<Commit> {
    const known = this.known.get(name);
    if (known) return known;
    const record = `${this.shards}${name}.json`;
    const content = await this.bucket.get(record);
    if (!content)
      throw new DiffmineError(
        'RUN_INVALID',
        `${this.bucket.place}/${record} is missing.`,
        'Run the same command again.',
      );
    const commit = parseCommit(content, `${this.bucket.place}/${record}`);
    this.known.set(name, commit);
    return commit;
  }

  async fetch(name: string, files?: readonly string[]): Promise<void> {
    const own = this.own(name);
    const wanted = files && (this.suffix ? [own] : files.map((file) => `${own}/${file}`));
    if (wanted && (await Promise.all(wanted.map(async (file) => exists(join(this.path, file))))).every(Boolean)) return;
    await fetchCommitted(this.bucket, this.path, `${this.shards}${name}`, await this.read(name), (file) =>
      wanted ? wanted.includes(file) : true,
    );
  }
}

export class BucketStore implements RunStore {
  readonly locks: BucketLocks;
  readonly place: string;

  /** @param temporary whether the local folder is removed in the end */
  private constructor(
    private readonly bucket: Bucket,
    readonly path: string,
    private readonly temporary: boolean,
  ) {
    this.place = bucket.place;
    this.locks = new BucketLocks(bucket);
  }

  static async open(place: string, onLog?: (line: string) => void): Promise<BucketStore> {
    const bucket = await Bucket.open(place, onLog);
    return new BucketStore(bucket, await mkdtemp(join(tmpdir(), 'diffmine-run-')), true);
  }

  /** The store of a run whose local folder is there. */
  static async of(place: string, folder: string, onLog?: (line: string) => void): Promise<BucketStore> {
    return new BucketStore(await Bucket.open(place, onLog), folder, false);
  }

  async read(name: string): Promise<Buffer | undefined> {
    return this.bucket.get(name);
  }

  async exists(name: string): Promise<boolean> {
    return (await this.bucket.head(name)) !== undefined;
  }

  async write(name: string, data: string | Uint8Array): Promise<void> {
    await this.bucket.put(name, data);
  }

  async fetch(name: string): Promise<boolean> {
    const target = join(this.path, name);
    if (name === INDEX) {
      const manifest = await this.read(MANIFEST);
      const { index } = JSON.parse(manifest?.toString() ?? '{}') as { index?: { sha256?: string } };
      return (await exists(target)) || this.bucket.download(`index/${index?.sha256 ?? ''}.parquet`, target);
    }
    return this.bucket.download(name, target);
  }

  async keep(name: string): Promise<void> {
    const local = join(this.path, name);
    if (!(await isFolder(local))) {
      await this.bucket.upload(local, name);
      return;
    }
    const files = (await filesIn(local)).map((file) => `${name}/${file}`);
    await together(files, async (file) => this.bucket.upload(join(this.path, file), file));
    const stale: string[] = [];
    for await (const { key } of this.bucket.list(`${name}/`)) if (!files.includes(key)) stale.push(key);
    await this.bucket.remove(stale);
  }

  async remove(name: string): Promise<void> {
    await this.bucket.remove([name]);
    await this.bucket.removeAll(`${name}/`);
    await rm(join(this.path, name), { recursive: true, force: true });
  }

  async entries(): Promise<string[]> {
    const names = new Set<string>();
    for await (const { key } of this.bucket.list('')) names.add(key.split('/')[0] ?? key);
    return [...names];
  }

  shards(folder: string, suffix: string): ShardStore {
    return new BucketShards(
      this.bucket,
      this.path,
      folder ? `${folder}/shards/` : 'shards/',
      suffix,
      this.temporary && folder === '',
    );
  }

  async writeManifest(content: string): Promise<boolean> {
    await this.bucket.check();
    const { index } = JSON.parse(content) as { index: { sha256: string } };
    const key = `index/${index.sha256}.parquet`;
    await this.bucket.upload(join(this.path, INDEX), key);
    const made = (await this.bucket.putNew(MANIFEST, content)) || (await this.read(MANIFEST))?.toString() === content;
    if (!made) {
      const stands = JSON.parse((await this.read(MANIFEST))?.toString() ?? '{}') as { index?: { sha256?: string } };
      if (stands.index?.sha256 !== index.sha256) await this.bucket.remove([key]);
      if (this.temporary) await rm(join(this.path, INDEX), { force: true });
    }
    return made;
  }

  /** Writes the local folder's manifest and index. @throws RUN_MISMATCH if there is another manifest */
  async pushManifest(): Promise<void> {
    const content = await readFile(join(this.path, MANIFEST), 'utf8');
    const there = await this.read(MANIFEST);
    if (there === undefined ? !(await this.writeManifest(content)) : there.toString() !== content)
      throw new DiffmineError('RUN_MISMATCH', `${this.place} holds another run.`, 'Give a new place.');
  }

  async close(): Promise<void> {
    if (this.temporary) await rm(this.path, { recursive: true, force: true });
  }
}
