// One model in the cache that Hugging Face's tools share: models--owner--name/{blobs,refs,snapshots}. A snapshot has a link for each file, to the blob
// of its content. https://huggingface.co/docs/hub/local-cache describes the layout.
import { readdir, readFile, readlink, rename, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { discard, temporaryName, writeFileAtomic } from '../../runs/atomic.js';
import { makeFolder } from '../../util/paths.js';

const COMMIT = /^[0-9a-f]{40}$/;

export class HubCache {
  readonly folder: string;
  /** of locks; beside those of other tools, which have names of their own */
  readonly locks: string;

  constructor(root: string, name: string) {
    const own = `models--${name.replaceAll('/', '--')}`;
    this.folder = path.join(root, own);
    this.locks = path.join(root, '.locks', own);
  }

  /** The commit that a revision was when it was last asked for; undefined if it is not cached. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return (await isThere(this.snapshot(revision))) ? revision : undefined;
    const commit = (await readFile(path.join(this.folder, 'refs', revision), 'utf8').catch(() => '')).trim();
    return COMMIT.test(commit) && (await isThere(this.snapshot(commit))) ? commit : undefined;
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const file = path.join(this.folder, 'refs', revision);
    await makeFolder(path.dirname(file));
    await writeFileAtomic(file, commit);
  }

  snapshot(commit: string): string {
    return path.join(this.folder, 'snapshots', commit);
  }

  /** Files of a snapshot with slashes between folders. Dangling links are left out. */
  async files(commit: string): Promise<string[]> {
    const root = this.snapshot(commit);
    const found: string[] = [];
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])) {
      const file = path.join(entry.parentPath, entry.name);
      if ((await stat(file).catch(() => undefined))?.isFile()) found.push(path.relative(root, file));
    }
    return found.sort();
  }

  blob(etag: string): string {
    return path.join(this.folder, 'blobs', etag);
  }

  /** Whether a snapshot has a file with this content. */
  async has(commit: string, file: string, etag: string): Promise<boolean> {
    const link = path.join(this.snapshot(commit), file);
    const target = await readlink(link).catch(() => undefined);
    // Python copies files where there are no links
    return target === undefined || path.basename(target) === etag ? isThere(link) : false;
  }

  /** Gives a blob its name in a snapshot: a relative link, so that the cache can be moved. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const link = path.join(this.snapshot(commit), file);
    await makeFolder(path.dirname(link));
    const temporary = temporaryName(link);
    try {
      await symlink(path.relative(path.dirname(link), this.blob(etag)), temporary);
      await rename(temporary, link);
    } catch (error) {
      await discard(temporary);
      throw error;
    }
  }

  /** Whether a file is known not to exist in a commit: huggingface_hub keeps an empty file for it, so that nobody asks again. */
  async isAbsent(commit: string, file: string): Promise<boolean> {
    return isThere(path.join(this.folder, '.no_exist', commit, file));
  }

  async setAbsent(commit: string, file: string): Promise<void> {
    const mark = path.join(this.folder, '.no_exist', commit, file);
    await makeFolder(path.dirname(mark));
    await writeFile(mark, '');
  }
}

async function isThere(location: string): Promise<boolean> {
  return stat(location).then(
    () => true,
    () => false,
  );
}
