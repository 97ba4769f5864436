// A scan of many tiny images through a queue while workers are killed (kill -9, one after another): the bytes are those of an undisturbed local run, and the
// memory of the command, of a worker that is never killed and of its engine stays flat.
//   node scripts/soak.mjs [--images 50000] [--kill-every 30] [--workers 2] [--shard-size 250] [--folder DIR]    needs redis-server and the built package
// Prints one JSON object; exit code 1 if bytes differ or memory grows.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sharp from 'sharp';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '50000' },
    'kill-every': { type: 'string', default: '30' },
    workers: { type: 'string', default: '2' },
    'shard-size': { type: 'string', default: '250' },
    folder: { type: 'string' },
  },
});
const images = Number(values.images);
const killEvery = Number(values['kill-every']);
/** Memory is flat if the median of the last third of a process's samples is at most so much above that of the middle third. */
const FLAT = { factor: 1.1, mebibytes: 16 };
/** Of an image, px. */
const SIDE = 16;
/** Between two looks at memory, ms. */
const LOOK = 1000;

const folder = values.folder ?? fs.mkdtempSync(path.join(os.tmpdir(), 'diffmine-soak-'));
const at = (name) => path.join(folder, name);
const say = (line) => process.stderr.write(`${line}\n`);

/** Images of 16 px that differ, in a folder per label of the model. */
async function draw() {
  const begun = performance.now();
  const labels = ['class0', 'class1', 'class2'];
  for (const label of labels) fs.mkdirSync(path.join(at('images'), label), { recursive: true });
  for (let first = 0; first < images; first += 256) {
    const some = Array.from({ length: Math.min(256, images - first) }, (_, i) => first + i);
    await Promise.all(
      some.map(async (number) => {
        const pixels = Buffer.alloc(SIDE * SIDE * 3);
        for (let i = 0; i < pixels.length; i++)
          pixels[i] = (i * (1 + (number % 7)) + number * 31 + (i >> 4) * (number % 13)) & 255;
        const file = path.join(at('images'), labels[number % 3], `${String(number).padStart(6, '0')}.png`);
        await sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } })
          .png({ compressionLevel: 1 })
          .toFile(file);
      }),
    );
  }
  say(`${images} images drawn in ${seconds(begun)} s.`);
}

const seconds = (begun) => Math.round((performance.now() - begun) / 1000);

async function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function startRedis() {
  const port = await freePort();
  fs.mkdirSync(at('redis'), { recursive: true });
  const child = spawn(
    'redis-server',
    ['--port', port, '--bind', '127.0.0.1', '--dir', at('redis'), '--save', '', '--maxmemory-policy', 'noeviction'].map(
      String,
    ),
    { stdio: 'ignore' },
  );
  await sleep(500);
  return { url: `redis://127.0.0.1:${port}`, stop: () => child.kill('SIGKILL') };
}

/** A diffmine command under way. */
function run(args, env = {}) {
  const child = spawn(process.execPath, [path.join(ROOT, 'bin', 'diffmine.js'), ...args], {
    env: { ...process.env, OMP_NUM_THREADS: '1', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let told = '';
  child.stderr.on('data', (text) => (told = `${told}${text}`.slice(-4000)));
  const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal, told })));
  return { child, ended };
}

const scan = (out, ...more) => [
  ...['scan', at('images'), '--model', path.join(ROOT, 'test', 'data', 'golden', 'tiny-fold'), '--size', 'source'],
  ...[
    '--samples',
    '1',
    '--patch',
    '8',
    '--per-image',
    '1',
    '--batch',
    '16',
    '--no-maps',
    '--device',
    'cpu',
    '--threads',
    '1',
  ],
  ...['--dtype', 'fp32', '--shard-size', values['shard-size'], '--out', out, ...more],
];

const childrenOf = (pid) => {
  try {
    return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
};

function rssMebibytes(pid) {
  try {
    const [, pages] = fs.readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ');
    return (Number(pages) * 4096) / 2 ** 20;
  } catch {
    return undefined;
  }
}

function killTree(pid) {
  for (const one of [...childrenOf(pid), pid]) {
    try {
      process.kill(one, 'SIGKILL');
    } catch {
      // gone already
    }
  }
}

/** Hashes of all files below a folder. */
function hashesOf(place, root = place, found = new Map()) {
  for (const name of fs.readdirSync(place).sort()) {
    const file = path.join(place, name);
    if (fs.statSync(file).isDirectory()) hashesOf(file, root, found);
    else found.set(path.relative(root, file), createHash('sha256').update(fs.readFileSync(file)).digest('hex'));
  }
  return found;
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

/** Of a process over time: what it held in the middle and last third, and its peak, MiB. */
function memoryOf(samples) {
  const third = Math.floor(samples.length / 3);
  if (third === 0) return undefined;
  const [middle, last] = [median(samples.slice(third, 2 * third)), median(samples.slice(2 * third))];
  return {
    samples: samples.length,
    middle: Math.round(middle),
    last: Math.round(last),
    peak: Math.round(Math.max(...samples)),
    flat: last <= FLAT.factor * middle + FLAT.mebibytes,
  };
}

async function queued(url) {
  const env = { DIFFMINE_QUEUE: url, DIFFMINE_QUEUE_LOCK: '10' };
  const command = run(scan(at('queued'), '--queue'), env);
  const worker = () => run(['worker', '--device', 'cpu', '--threads', '1'], env);
  // the first one is never killed: its memory is watched
  const spared = worker();
  const others = Array.from({ length: Math.max(1, Number(values.workers) - 1) }, worker);
  const memory = { command: [], worker: [], engine: [] };
  const look = setInterval(() => {
    const engine = childrenOf(spared.child.pid)[0];
    for (const [role, pid] of Object.entries({ command: command.child.pid, worker: spared.child.pid, engine })) {
      const held = pid === undefined ? undefined : rssMebibytes(pid);
      if (held !== undefined) memory[role].push(held);
    }
  }, LOOK);
  let kills = 0;
  const killing = setInterval(() => {
    killTree(others.shift().child.pid);
    kills += 1;
    others.push(worker());
  }, 1000 * killEvery);
  const begun = performance.now();
  const { code, told } = await command.ended;
  const took = seconds(begun);
  clearInterval(look);
  clearInterval(killing);
  for (const one of [spared, ...others]) killTree(one.child.pid);
  await Promise.all([spared, ...others].map(async ({ ended }) => ended));
  if (code !== 0) throw new Error(`The scan on the queue ended with ${code}: ${told}`);
  return { seconds: took, kills, memory };
}

await draw();
const redis = await startRedis();
try {
  const { kills, memory, seconds: took } = await queued(redis.url);
  say(`Done through the queue in ${took} s with ${kills} kills; now undisturbed.`);
  const alone = await run(scan(at('alone'))).ended;
  if (alone.code !== 0) throw new Error(`The local scan ended with ${alone.code}: ${alone.told}`);
  const [one, two] = ['queued', 'alone'].map((name) => hashesOf(path.join(at(name), 'shards')));
  const differ = [...new Set([...one.keys(), ...two.keys()])].filter((name) => one.get(name) !== two.get(name));
  const held = Object.fromEntries(Object.entries(memory).map(([role, samples]) => [role, memoryOf(samples)]));
  const result = {
    images,
    shards: new Set([...two.keys()].map((name) => name.split('/')[0])).size,
    files: two.size,
    workers: Number(values.workers),
    killEverySeconds: killEvery,
    kills,
    seconds: took,
    differ: differ.length,
    memoryMiB: held,
  };
  console.log(JSON.stringify(result, null, 1));
  if (differ.length > 0 || Object.values(held).some((one) => one && !one.flat)) process.exitCode = 1;
} finally {
  redis.stop();
  if (values.folder === undefined) fs.rmSync(folder, { recursive: true, force: true });
}
