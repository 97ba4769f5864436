// The addon in processes and worker threads of their own: ends of every kind, memory, and loads that fail.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { openModel } from '../../src/models/index.js';
import { addonPath } from '../../src/engine/index.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';
import { nightlyTest } from '../helpers/nightly.js';

interface Outcome {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs a script with `addon`, `source` (a tiny model), `points` and `later` defined. */
async function run(script: string, ...flags: string[]): Promise<Outcome> {
  const { source } = await openModel(path.join(GOLDEN, 'tiny-fold'));
  const prelude = `
    const addon = require(${JSON.stringify(addonPath())});
    const source = ${JSON.stringify(source)};
    const points = { dtype: 'F32', shape: [4000, 8], data: new Uint8Array(Float32Array.from({ length: 32000 }, (_, i) => Math.sin(i * i)).buffer) };
    const newEngine = () => addon.createEngine({ device: 'cpu', dtype: 'fp32', threads: 2 });
    const longWork = (engine, call) => addon.kmeans(engine, points, { clusters: 40, restarts: 1e6, seed: 1 }, call);
    const begun = (engine) => new Promise((resolve) => longWork(engine, { onProgress: resolve }).catch(() => {}));
    const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  `;
  // Workers get the prelude too.
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [...flags, '-e', `const prelude = ${JSON.stringify(prelude)};\n${prelude}\n${script}`],
    { encoding: 'utf8', timeout: 100_000 },
  );
  return { status, signal, stdout, stderr };
}

describe('the end of a process', () => {
  it.each([
    ['process.exit', 'setTimeout(() => process.exit(7), 20)', 7],
    ['an uncaught exception', 'setTimeout(() => { throw new Error("boom") }, 20)', 1],
    ['an unhandled rejection', 'setTimeout(() => Promise.reject(new Error("boom")), 20)', 1],
  ])('by %s while engines compute ends in no signal', async (_, end, status) => {
    const outcome = await run(
      `Promise.all([begun(newEngine()), begun(newEngine())]).then(() => { addon.loadModel(newEngine(), source).catch(() => {}); ${end}; })`,
    );
    expect(outcome).toMatchObject({ status, signal: null });
  });

  it('happens while engines are idle and not disposed', async () => {
    const outcome = await run(`
      const engine = newEngine(); newEngine();
      addon.loadModel(engine, source).then(() => console.log('loaded', addon.engineMemory(engine).weights > 0));
    `);
    expect(outcome).toMatchObject({ status: 0, signal: null, stdout: 'loaded true\n', stderr: '' });
  });

  it('waits for work that was called', async () => {
    const outcome = await run(
      `addon.kmeans(newEngine(), points, { clusters: 3, restarts: 5, seed: 1 }).then(({ labels }) => console.log(labels.shape[0]))`,
    );
    expect(outcome).toMatchObject({ status: 0, stdout: '4000\n' });
  });
});

describe('worker threads', () => {
  it('each have their engines; the end of one leaves the others', async () => {
    const outcome = await run(`
      const { Worker } = require('node:worker_threads');
      const script = prelude + \`
        const { parentPort } = require('node:worker_threads');
        const engine = newEngine();
        addon.loadModel(engine, source)
          .then(() => addon.kmeans(engine, points, { clusters: 3, restarts: 2, seed: 1 }))
          .then(({ inertia }) => parentPort.postMessage(inertia));
      \`;
      const engine = newEngine();
      Promise.all([0, 1, 2].map(() => new Promise((resolve, reject) => {
        const worker = new Worker(script, { eval: true });
        let inertia;
        worker.on('message', (value) => (inertia = value)).on('error', reject).on('exit', (code) => resolve([code, inertia]));
      }))).then(async (ends) => {
        const { inertia } = await addon.kmeans(engine, points, { clusters: 3, restarts: 2, seed: 1 });
        console.log(JSON.stringify(ends.map(([code, value]) => [code, value === inertia])));
      });
    `);
    expect(outcome).toMatchObject({ status: 0, signal: null, stdout: '[[0,true],[0,true],[0,true]]\n' });
  });

  it('may be terminated, or exit, at any moment', async () => {
    const outcome = await run(`
      const { Worker } = require('node:worker_threads');
      const script = prelude + \`
        const { parentPort, workerData } = require('node:worker_threads');
        const engine = newEngine();
        addon.loadModel(engine, source).catch(() => {});
        const controller = new AbortController();
        const running = longWork(engine, { signal: controller.signal, onProgress: () => parentPort.postMessage('progress') });
        running.catch(() => {});
        longWork(engine, { signal: controller.signal }).catch(() => {});
        if (workerData % 4 === 1) setTimeout(() => process.exit(0), workerData);
        if (workerData % 4 === 2) setTimeout(() => addon.disposeEngine(engine), workerData / 2);
        if (workerData % 4 === 3) setTimeout(() => controller.abort(), workerData / 2);
      \`;
      (async () => {
        const other = newEngine();
        const work = longWork(other);
        work.catch(() => {});
        for (let round = 0; round < 24; round++) {
          const worker = new Worker(script, { eval: true, workerData: round });
          await new Promise((resolve) => worker.on('online', resolve));
          await later(round * 4);
          await worker.terminate();
        }
        await addon.disposeEngine(other);
        await work.catch((error) => console.log(error.code));
      })();
    `);
    expect(outcome).toMatchObject({ status: 0, signal: null, stdout: 'CANCELLED\n', stderr: '' });
  });
});

describe('memory', () => {
  nightlyTest('of engines is known to the garbage collector, which runs for it', async () => {
    const outcome = await run(`
      (async () => {
        let collected = 0;
        const registry = new FinalizationRegistry(() => collected++);
        const { unet, schedule } = source;
        const large = { schedule, unet: { config: { ...unet.config, blockOutChannels: [64, 128, 256] }, files: [], synthetic: 1 } };
        for (let i = 0; i < 8; i++) {
          const engine = newEngine();
          registry.register(engine);
          await addon.loadModel(engine, large);
        }
        console.log(collected > 0);
      })();
    `);
    expect(outcome).toMatchObject({ status: 0, stdout: 'true\n' });
  });

  it('of engines, their threads and results is freed by it', async () => {
    const outcome = await run(
      `
      const collect = async (until) => { for (let i = 0; i < 400 && !until(); i++) { global.gc(); await later(5); } return until(); };
      const threads = () => process.platform === 'linux' ? require('node:fs').readdirSync('/proc/self/task').length : 0;
      (async () => {
        const first = newEngine(); // what LibTorch makes at its first use stays
        await addon.loadModel(first, source);
        await addon.disposeEngine(first);
        const before = [threads(), process.memoryUsage().external];
        await (async () => {
          for (let i = 0; i < 4; i++) {
            const engine = newEngine();
            await addon.loadModel(engine, source);
            await addon.prepareConditions(engine, { dtype: 'I64', shape: [1], data: new Uint8Array(8) });
          }
          console.log('threads', threads() >= before[0] + 4 || process.platform !== 'linux');
        })();
        console.log('threads freed', await collect(() => threads() <= before[0]));
        await (async () => {
          const kept = [];
          for (let i = 0; i < 8; i++) kept.push(addon.drawNoise(1, 0, 16, [1 << 16], 0)); // 4 MiB
          console.log('results', process.memoryUsage().external - before[1] >= 8 * (4 << 20));
        })();
        console.log('results freed', await collect(() => process.memoryUsage().external - before[1] < (4 << 20)));
      })();
    `,
      '--expose-gc',
    );
    expect(outcome).toMatchObject({
      status: 0,
      stdout: 'threads true\nthreads freed true\nresults true\nresults freed true\n',
    });
  });

  it('of images and engines stays while a task uses it', async () => {
    const outcome = await run(
      `
      (async () => {
        const model = { engine: newEngine() };
        await addon.loadModel(model.engine, source);
        const fill = (value) => Buffer.alloc(512 * 512 * 3, value);
        const blocked = addon.kmeans(model.engine, points, { clusters: 40, restarts: 3, seed: 1 });
        const input = [{ pixels: fill(255), width: 512, height: 512 }, { pixels: fill(0), width: 512, height: 512 }];
        const encoded = addon.encodeImages(model.engine, input);
        input.length = 0;      // the caller keeps neither the images
        delete model.engine;   // nor the engine
        for (let i = 0; i < 20; i++) { global.gc(); fill(7); await later(5); }
        await blocked;
        const { data, shape } = await encoded;
        const values = new Float32Array(data.buffer);
        console.log(shape.join(), values.subarray(0, values.length / 2).every((value) => value === 1), values.subarray(values.length / 2).every((value) => value === -1));
      })();
    `,
      '--expose-gc',
    );
    expect(outcome).toMatchObject({ status: 0, stdout: '2,12,256,256 true true\n' });
  });
});

describe('an addon that does not load', () => {
  const folder = temporaryFolder();

  /** A fresh copy of the module, with DIFFMINE_ADDON set. */
  function failure(addon: string): unknown {
    const saved = process.env['DIFFMINE_ADDON'];
    process.env['DIFFMINE_ADDON'] = addon;
    try {
      let thrown: unknown;
      jest.isolateModules(() => {
        const native = jest.requireActual<typeof import('../../src/engine')>('../../src/engine/index.js');
        try {
          native.loadAddon();
        } catch (error) {
          thrown = error;
        }
      });
      return thrown;
    } finally {
      if (saved === undefined) delete process.env['DIFFMINE_ADDON'];
      else process.env['DIFFMINE_ADDON'] = saved;
    }
  }

  it('is a SETUP error with a hint', () => {
    const absent = path.join(folder, 'absent.node');
    expect(failure(absent)).toMatchObject({
      code: 'SETUP',
      exitCode: 4,
      message: `There is no native addon (looked for ${absent}).`,
      hint: 'Run: npm run setup',
    });

    mkdirSync(folder, { recursive: true });
    const damaged = path.join(folder, 'damaged.node');
    writeFileSync(damaged, 'not a library at all');
    expect(failure(damaged)).toMatchObject({
      code: 'SETUP',
      message: expect.stringMatching(
        /damaged\.node cannot be loaded: it was built for another system or is damaged/,
      ) as string,
      hint: 'Run: npm run setup',
    });
  });
});
