// File systems that refuse what others do: fsync of a folder, hard links, removing a folder that still has an open file's .nfsXXXX in it.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  discard,
  moveOver,
  replaceFolder,
  removeLeftovers,
  syncFile,
  temporaryName,
  writeFileAtomic,
  writeFolderAtomic,
} from '../../src/runs/atomic.js';
import { checkVacant } from '../../src/runs/begin.js';
import { LockFolder } from '../../src/runs/lock-folder.js';
import { asDiffmineError } from '../../src/util/errors.js';
import { makeFolder } from '../../src/util/paths.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-fs-'));
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const failure = (code: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${code}: refused`), { code, syscall: 'test' });

/** fsync fails for folders, or for files. */
async function refuseSync(code: string, what: 'folders' | 'files'): Promise<void> {
  const handle = await promises.open(folder, 'r');
  const prototype = Object.getPrototypeOf(handle) as promises.FileHandle;
  await handle.close();
  const sync = prototype.sync;
  jest.spyOn(prototype, 'sync').mockImplementation(async function (this: promises.FileHandle) {
    if ((await this.stat()).isDirectory() === (what === 'folders')) throw failure(code);
    return sync.call(this);
  });
}

/** Everything that writes, once. */
async function writeAll(): Promise<void> {
  await writeFileAtomic(join(folder, 'file'), 'one');
  await writeFileAtomic(join(folder, 'file'), 'two');
  expect(await writeFolderAtomic(join(folder, 'shard'), async (into) => writeFileSync(join(into, 'a'), '1'))).toBe(
    true,
  );
  expect(await writeFolderAtomic(join(folder, 'shard'), async (into) => writeFileSync(join(into, 'a'), '2'))).toBe(
    false,
  );
  await replaceFolder(join(folder, 'mine'), async (into) => writeFileSync(join(into, 'a'), '1'));
  await replaceFolder(join(folder, 'mine'), async (into) => writeFileSync(join(into, 'b'), '2'));
  expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('two');
  expect(readFileSync(join(folder, 'shard', 'a'), 'utf8')).toBe('1');
  expect(readdirSync(join(folder, 'mine'))).toEqual(['b']);
}

describe('fsync', () => {
  test.each(['EINVAL', 'ENOTSUP', 'EPERM', 'EISDIR', 'EBADF', 'EACCES', 'ENOSYS', 'EROFS'])(
    'of a folder is refused with %s',
    async (code) => {
      await refuseSync(code, 'folders');
      await writeAll();
    },
  );

  test('a folder that cannot even be opened', async () => {
    const { open } = promises;
    jest
      .spyOn(promises, 'open')
      .mockImplementation(async (path, ...more) =>
        (await promises.stat(path)).isDirectory() ? Promise.reject(failure('EISDIR')) : open(path, ...more),
      );
    await writeAll();
  });

  test.each(['EIO', 'ENOSPC', 'EDQUOT'])('%s is an error, and the file that was there stays', async (code) => {
    writeFileSync(join(folder, 'file'), 'old');
    await refuseSync(code, 'files');
    await expect(writeFileAtomic(join(folder, 'file'), 'new')).rejects.toMatchObject({ code });
    await expect(
      writeFolderAtomic(join(folder, 'shard'), async (into) => writeFileSync(join(into, 'a'), '1')),
    ).rejects.toMatchObject({ code });
    await expect(
      replaceFolder(join(folder, 'mine'), async (into) => writeFileSync(join(into, 'a'), '1')),
    ).rejects.toMatchObject({ code });
    expect(readdirSync(folder)).toEqual(['file']);
    expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('old');
    jest.restoreAllMocks();
    await refuseSync(code, 'folders');
    await expect(writeFileAtomic(join(folder, 'file'), 'new')).rejects.toMatchObject({ code });
  });

  test('of a file: EINVAL is a file system without it', async () => {
    writeFileSync(join(folder, 'file'), 'x');
    await refuseSync('EINVAL', 'files');
    await expect(syncFile(join(folder, 'file'))).resolves.toBeUndefined();
  });
});

describe('link', () => {
  test.each([
    'EPERM',
    'EACCES',
    'EPROTO',
    'EXDEV',
    'EMLINK',
    'ENOTSUP',
    'EOPNOTSUPP',
    'ENOSYS',
    'EIO',
    'EINVAL',
    'EROFS',
  ])('is refused with %s: locks still exclude', async (code) => {
    jest.spyOn(promises, 'link').mockRejectedValue(failure(code));
    const [one, other] = [new LockFolder(folder), new LockFolder(folder)];
    const held = await Promise.all([
      one.acquire('shard'),
      other.acquire('shard'),
      one.acquire('shard'),
      other.acquire('shard'),
    ]);
    expect(held.filter(Boolean).length).toBeLessThanOrEqual(1);
    const lock = held.find(Boolean) ?? (await one.acquire('shard'));
    expect(lock).toBeDefined();
    expect(await other.acquire('shard')).toBeUndefined();
    await lock?.release();
    const next = await other.acquire('shard');
    expect(next).toBeDefined();
    await next?.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a disk that is full when the lock is written is an error', async () => {
    jest.spyOn(promises, 'link').mockRejectedValue(failure('EPERM'));
    jest.spyOn(promises, 'writeFile').mockRejectedValue(failure('ENOSPC'));
    await expect(new LockFolder(folder).acquire('shard')).rejects.toMatchObject({ code: 'ENOSPC' });
  });

  test('NFS says EEXIST of a link that it has just made', async () => {
    const { link } = promises;
    jest.spyOn(promises, 'link').mockImplementation(async (from, to) => {
      await link(from, to);
      throw failure('EEXIST');
    });
    expect(await new LockFolder(folder).acquire('shard')).toBeDefined();
  });

  test("the scripts' lock", () => {
    const steps = resolve(__dirname, '../../scripts/steps.mjs');
    const script = `
      const fs = require('node:fs');
      for (const code of ['EPERM', 'EACCES', 'EPROTO', 'EXDEV', 'ENOSYS', 'EIO']) {
        fs.linkSync = () => { throw Object.assign(new Error(code), { code }); };
        const { withLock } = await import(${JSON.stringify(steps)});
        let inside = 0, most = 0;
        const work = async () => { most = Math.max(most, ++inside); await new Promise((done) => setTimeout(done, 5)); --inside; };
        await Promise.all([1, 2, 3].map(() => withLock(${JSON.stringify(join(folder, 'lock'))}, 'testing', work)));
        if (most !== 1 || fs.readdirSync(${JSON.stringify(folder)}).length > 0) throw new Error(code + ': ' + most);
      }`;
    execFileSync(
      process.execPath,
      ['-e', `(async () => {${script}})().catch((error) => { console.error(error); process.exit(1); })`],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
  });
});

describe('what cannot be removed', () => {
  /** Folders that hold a file that is open elsewhere, as NFS keeps it. */
  function refuseRemoval(code: string): void {
    const { rm } = promises;
    jest.spyOn(promises, 'rm').mockImplementation(async (path, options) => {
      if (options?.recursive && existsSync(String(path))) throw failure(code);
      return rm(path, options);
    });
  }

  test.each(['ENOTEMPTY', 'EBUSY', 'EPERM', 'EACCES'])(
    '%s: the new folder stands, the old one waits for its turn',
    async (code) => {
      const target = join(folder, 'mine');
      await replaceFolder(target, async (into) => writeFileSync(join(into, 'a'), '1'));
      refuseRemoval(code);
      await replaceFolder(target, async (into) => writeFileSync(join(into, 'b'), '2'));
      expect(readdirSync(target)).toEqual(['b']);
      await expect(removeLeftovers(target)).resolves.toBeUndefined();
      expect(await writeFolderAtomic(target, async (into) => writeFileSync(join(into, 'c'), '3'))).toBe(false);
      const fresh = temporaryName(target);
      mkdirSync(fresh);
      writeFileSync(join(fresh, 'd'), '4');
      await moveOver(fresh, target);
      expect(readdirSync(target)).toEqual(['d']);
      jest.restoreAllMocks();
      await removeLeftovers(target);
      expect(readdirSync(folder)).toEqual(['mine']);
    },
  );

  test('EIO is an error', async () => {
    refuseRemoval('EIO');
    await expect(discard(folder)).rejects.toMatchObject({ code: 'EIO' });
  });

  test.each(['EPERM', 'EACCES', 'ENOTEMPTY', 'EEXIST', 'EBUSY'])(
    'a shard that another process finished first: %s',
    async (code) => {
      const target = join(folder, 'shard');
      mkdirSync(target);
      jest.spyOn(promises, 'rename').mockRejectedValue(failure(code));
      expect(await writeFolderAtomic(target, async (into) => writeFileSync(join(into, 'a'), '1'))).toBe(false);
      expect(readdirSync(folder)).toEqual(['shard']);
      rmSync(target, { recursive: true });
      await expect(
        writeFolderAtomic(target, async (into) => writeFileSync(join(into, 'a'), '1')),
      ).rejects.toMatchObject({ code });
    },
  );
});

describe('a folder that cannot be made', () => {
  test.each(['EROFS', 'EDQUOT', 'EIO', 'ENOENT'])('%s is reported as such, though Node says ENOENT', async (code) => {
    const { mkdir } = promises;
    const missing = join(folder, 'a', 'b');
    jest.spyOn(promises, 'mkdir').mockImplementation(async (path, options) => {
      if (path === folder) return mkdir(path, options);
      throw failure(typeof options === 'object' && options?.recursive ? 'ENOENT' : code);
    });
    await expect(makeFolder(missing)).rejects.toMatchObject({ code });
  });

  test('one that another process makes at the same time', async () => {
    const { mkdir } = promises;
    const path = join(folder, 'a');
    jest.spyOn(promises, 'mkdir').mockImplementationOnce(async () => {
      await mkdir(path);
      throw failure('ENOENT');
    });
    await makeFolder(path);
    expect(readdirSync(folder)).toEqual(['a']);
  });
});

test.each([
  ['ENOSPC', 'The disk is full: /data/run cannot be written.', 'Free some space and'],
  ['EDQUOT', 'The disk is full for this user (quota): /data/run cannot be written.', 'Free some space and'],
  ['EROFS', 'The disk is read-only: /data/run cannot be written.', 'Make it writable and'],
])('%s is told in words', (code, message, hint) => {
  const told = asDiffmineError(Object.assign(failure(code), { path: '/data/run' }));
  expect(told).toMatchObject({
    code: 'IO',
    message,
    hint: `${hint} run the same command again: finished work is kept.`,
  });
});

test.each([
  ['EACCES', "'/data/run' cannot be used: permission denied.", /permissions/],
  ['ENOTDIR', "'/data/run' cannot be used: a part of it is a file, not a folder.", /another path/],
  ['EMFILE', "'/data/run' cannot be used: too many files are open.", /ulimit -n/],
])('%s is told in words, with what to do', (code, message, hint) => {
  const told = asDiffmineError(Object.assign(failure(code), { path: '/data/run', syscall: 'open' }));
  expect(told).toMatchObject({ code: 'IO', message, hint: expect.stringMatching(hint) as unknown });
});

test('a run is not begun where a file is, or below one', async () => {
  const file = join(folder, 'notes.txt');
  writeFileSync(file, 'x');
  for (const place of [file, join(file, 'a', 'run')])
    await expect(checkVacant(place, 'run')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `${file} is a file, not a folder.`,
      hint: 'Give `out` a new or empty folder.',
    });
  await checkVacant(join(folder, 'new', 'run'), 'run');
});
