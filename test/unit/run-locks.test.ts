// Locks die with their process, and of many that want one only one gets it.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LockFolder } from '../../src/runs/lock-folder.js';
import { lives, self } from '../../src/runs/locks.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'diffmine-locks-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, owner: object): void => writeFileSync(join(folder, name), JSON.stringify(owner));
/** the pid of a process that has ended */
const deadPid = (): number => spawnSync(process.execPath, ['-e', '']).pid;

test('one holder at a time; released is free', async () => {
  const [one, two] = [new LockFolder(folder), new LockFolder(folder)];
  const lock = await one.acquire('00000');
  expect(lock).toBeDefined();
  expect(JSON.parse(readFileSync(join(folder, '00000.lock'), 'utf8'))).toEqual(self());
  expect(await two.acquire('00000')).toBeUndefined();
  expect(await one.acquire('00000')).toBeUndefined();
  expect(await two.holder('00000')).toEqual(self());
  const other = await two.acquire('00001');
  expect(other).toBeDefined();
  await lock?.release();
  expect(await two.holder('00000')).toBeUndefined();
  const again = await two.acquire('00000');
  expect(again).toBeDefined();
  await again?.release();
  await other?.release();
  expect(readdirSync(folder)).toEqual([]);
});

test("of twenty that want a dead owner's lock, one gets it", async () => {
  for (let round = 0; round < 10; round += 1) {
    const name = String(round);
    write(`${name}.lock`, { ...self(), pid: deadPid() });
    const locks = await Promise.all(Array.from({ length: 20 }, async () => new LockFolder(folder).acquire(name)));
    const won = locks.filter((lock) => lock !== undefined);
    expect(won).toHaveLength(1);
    expect(readdirSync(folder).filter((file) => file.startsWith(`${name}.lock`))).toEqual([`${name}.lock.1`]);
    await won[0]?.release();
  }
});

test('a process that dies while creating a lock leaves none, only a file that the next holder removes', async () => {
  const name = 'dead-in-the-act';
  write(`.${name}.lock.tmp-host-1-abcdef`, self());
  const lock = await new LockFolder(folder).acquire(name);
  expect(readdirSync(folder).filter((file) => file.includes(name))).toEqual([`${name}.lock`]);
  await lock?.release();
  expect(readdirSync(folder).filter((file) => file.includes(name))).toEqual([]);
});

test('a pid that another process has now is not the owner', async () => {
  const child = spawn('sleep', ['30']);
  try {
    const owner = { ...self(), pid: child.pid as number };
    expect(lives({ ...owner, started: '1' })).toBe(false);
    write('a.lock', { ...owner, started: '1' });
    expect(await new LockFolder(folder).acquire('a')).toBeDefined();
  } finally {
    child.kill();
  }
});

test('owners from before the last boot are dead; on another machine this is unknown', () => {
  const me = self();
  expect(lives(me)).toBe(true);
  expect(lives({ ...me, system: 'other-boot pid:[1]' })).toBe(false);
  expect(lives({ ...me, host: 'elsewhere', system: 'other-boot pid:[1]' })).toBeUndefined();
  // another container of this machine
  expect(lives({ ...me, system: `${me.system.split(' ')[0]} pid:[1]` })).toBeUndefined();
});

test('an owner elsewhere holds its lock as long as it touches it', async () => {
  const locks = new LockFolder(folder);
  write('a.lock', { ...self(), host: 'elsewhere', system: 'other-boot pid:[1]' });
  expect(await locks.acquire('a')).toBeUndefined();
  const longAgo = new Date(Date.now() - 3_600_000);
  utimesSync(join(folder, 'a.lock'), longAgo, longAgo);
  expect(await locks.acquire('a')).toBeDefined();
});

test('an incompletely written lock holds only for a while', async () => {
  const locks = new LockFolder(folder);
  writeFileSync(join(folder, 'a.lock'), '{"host":"x');
  expect(await locks.holder('a')).toBe(true);
  expect(await locks.acquire('a')).toBeUndefined();
  const longAgo = new Date(Date.now() - 3_600_000);
  utimesSync(join(folder, 'a.lock'), longAgo, longAgo);
  expect(await locks.acquire('a')).toBeDefined();
});
