// Bytes that JavaScript hands to the engine are the engine's own from the call on: what becomes of the memory afterwards reaches neither a result nor the compute thread.
import path from 'node:path';
import { MessageChannel } from 'node:worker_threads';

import type { DiffmineError } from '../../src/util/errors.js';
import { openModel, type ModelFolder } from '../../src/models/index.js';
import {
  drawNoise,
  Engine,
  fromFloat32,
  fromInt64,
  type Conditions,
  type Image,
  type Tensor,
  type Trainer,
} from '../../src/engine/index.js';
import { GOLDEN } from '../helpers/folders.js';

/** Memory of one kind: puts bytes into it, and does to it afterwards what a caller might. */
interface Memory {
  put(bytes: Uint8Array): Uint8Array;
  spoil(): void;
}

function memory(make: (bytes: number) => ArrayBufferLike, spoil: (buffer: ArrayBuffer) => void): () => Memory {
  return () => {
    const buffers: ArrayBufferLike[] = [];
    return {
      put(bytes) {
        const copy = new Uint8Array(make(bytes.byteLength));
        copy.set(bytes);
        buffers.push(copy.buffer);
        return copy;
      },
      spoil: () => buffers.forEach((buffer) => spoil(buffer as ArrayBuffer)),
    };
  };
}

type Resizable = ArrayBuffer & { resize(bytes: number): void };
const plain = (bytes: number): ArrayBuffer => new ArrayBuffer(bytes);
const resizable = (bytes: number): ArrayBuffer =>
  new (ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => ArrayBuffer)(bytes, {
    maxByteLength: bytes,
  });
const overwrite = (buffer: ArrayBufferLike): void => void new Uint8Array(buffer).fill(0x7f);
const MEMORIES: [string, () => Memory][] = [
  [
    'transferred by structuredClone',
    memory(plain, (buffer) => overwrite(structuredClone(buffer, { transfer: [buffer] }))),
  ],
  [
    'transferred to a port',
    memory(plain, (buffer) => {
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(buffer, [buffer]);
      port1.close();
      port2.close();
    }),
  ],
  ['of a resizable buffer, shrunk to nothing', memory(resizable, (buffer) => (buffer as Resizable).resize(0))],
  ['overwritten', memory(plain, overwrite)],
  ['shared, and overwritten', memory((bytes) => new SharedArrayBuffer(bytes), overwrite)],
];

const latents = drawNoise(1, 0, 2, [4, 8, 8], 0);
const text = drawNoise(2, 0, 2, [77, 32], 0);
const images: Image[] = [1, 2].map((seed) => ({
  width: 64,
  height: 64,
  pixels: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i * seed) % 251),
}));
const scored = {
  samples: 2,
  seed: 0,
  tBegin: 100,
  tEnd: 700,
  sampler: 'reference',
  patch: 16,
  perImage: 2,
  batch: 4,
  keepMaps: true,
  keepScores: true,
} as const;
const contrast = {
  conditions: [
    [0, 1],
    [0, 1],
  ],
  subjects: [[0], [0]],
  weights: [[[0, 1]], [[0, 1]]],
  keys: [1, 2],
};

let model: ModelFolder;
let engine: Engine;
let conditions: Conditions;

beforeAll(async () => {
  model = await openModel(path.join(GOLDEN, 'tiny-sd15'));
  engine = new Engine({ device: 'cpu', dtype: 'fp32', threads: 1 });
  await engine.loadModel(model.source);
  conditions = await engine.prepareConditions(text);
});
afterAll(() => engine.dispose());

type Put = <T extends Tensor | Image>(value: T) => T;
type Call = (put: Put) => Promise<unknown>;

const forward = { timesteps: [3, 500], conditionIndex: [0, 1] };
const predicted = { timesteps: [3, 500], conditions: [0, 1] };
const boxes = images.map(() => [{ rowBegin: 0, columnBegin: 0, rowEnd: 64, columnEnd: 64 }]);
const trainer = (): Promise<Trainer> => engine.createTrainer(model.source, text, { learningRate: 1e-3, seed: 3 });

/** Every call that takes bytes, with a result that tells which bytes it saw. */
const CALLS: [string, Call | (() => Promise<Call>)][] = [
  [
    'encodeText',
    (put) =>
      engine.encodeText([
        put(
          fromInt64(
            [1, 77],
            Array.from({ length: 77 }, (_, i) => i * 7),
          ),
        ),
      ]),
  ],
  [
    'prepareConditions',
    async (put) => engine.unetForward(await engine.prepareConditions(put(text)), { x: latents, ...forward }),
  ],
  ['unetForward', (put) => engine.unetForward(conditions, { x: put(latents), ...forward })],
  ['vaeEncode', (put) => engine.vaeEncode(images.map(put))],
  ['vaeDecode', (put) => engine.vaeDecode(put(latents))],
  ['encodeImages', (put) => engine.encodeImages(images.map(put))],
  ['encodeImages of one', (put) => engine.encodeImages(images.slice(0, 1).map(put))],
  [
    'scoreTypicality of images',
    (put) =>
      engine.scoreTypicality(
        conditions,
        { images: images.map(put), ...contrast, noises: put(latents), timesteps: put(fromInt64([2], [7, 300])) },
        scored,
      ),
  ],
  [
    'scoreTypicality of latents',
    (put) => engine.scoreTypicality(conditions, { latents: put(latents), height: 64, width: 64, ...contrast }, scored),
  ],
  [
    'dift',
    (put) =>
      engine.dift(
        conditions,
        { images: images.map(put), conditions: [0, 1], boxes, noises: put(latents) },
        { timestep: 161, upBlock: 1, ensemble: 2, seed: 0, batch: 2 },
      ),
  ],
  ['patchScores', (put) => engine.patchScores(put(drawNoise(4, 0, 2, [8, 8], 0)), 64, 64, 16)],
  [
    'selectPatches',
    (put) =>
      engine.selectPatches(
        put(
          fromFloat32(
            [8, 4],
            Array.from({ length: 32 }, (_, i) => Math.sin(i)),
          ),
        ),
        2,
        3,
        false,
      ),
  ],
  ['kmeans', (put) => engine.kmeans(put(drawNoise(6, 0, 40, [4], 0)), { clusters: 3, restarts: 2, seed: 1 })],
  ['heatMaps', (put) => engine.heatMaps(put(drawNoise(7, 0, 2, [8, 8], 0)), { height: 32, width: 32 })],
  [
    'createTrainer',
    async (put) =>
      (await engine.createTrainer(model.source, put(text), { learningRate: 1e-3 })).predict({
        x: latents,
        ...predicted,
      }),
  ],
  [
    'Trainer',
    async (): Promise<Call> => {
      const made = await trainer();
      return (put) =>
        Promise.all([
          made.accumulate(
            { x0: put(latents), conditions: [0, 1], noise: put(drawNoise(8, 0, 2, [4, 8, 8], 0)), timesteps: [3, 500] },
            2,
          ),
          made.update(),
          made.evaluate({ x0: put(latents), conditions: [0, 1] }, 4),
          made.predict({ x: put(latents), ...predicted }),
          made.dispose(),
        ]);
    },
  ],
];

/** Keeps the engine busy until it is called: what is asked for meanwhile reads its input afterwards. */
function hold(): () => void {
  const stop = new AbortController();
  const points = fromFloat32(
    [4000, 8],
    Float32Array.from({ length: 32_000 }, (_, i) => Math.sin(i * i)),
  );
  engine.kmeans(points, { clusters: 40, restarts: 100_000, seed: 1 }, { signal: stop.signal }).catch(() => undefined);
  return () => stop.abort();
}

const asIs: Put = (value) => value;
const through =
  ({ put }: Memory): Put =>
  (value) =>
    'pixels' in value ? { ...value, pixels: put(value.pixels) } : { ...value, data: put(value.data) };

describe.each(CALLS)('%s', (name, entry) => {
  const call = async (): Promise<Call> => (name === 'Trainer' ? (entry as () => Promise<Call>)() : entry);
  let want: unknown;
  beforeAll(async () => {
    want = await (await call())(asIs);
  });

  test.each(MEMORIES)('reads its bytes before they are %s', async (_, make) => {
    const ready = await call();
    const ours = make();
    const release = hold();
    const result = ready(through(ours));
    ours.spoil();
    release();
    expect(await result).toEqual(want);
  });
});

test('results are as good as the memory they came from: other bytes, another result', async () => {
  const [one, other] = await Promise.all([
    engine.encodeImages(images.slice(0, 1)),
    engine.encodeImages(images.slice(1)),
  ]);
  expect(one).not.toEqual(other);
});

describe('memory that is gone, or goes while the arguments are read, is refused', () => {
  const [image] = images as [Image];
  const detach = (bytes: Uint8Array): void =>
    void structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
  const code = (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => 'resolved',
      (thrown: DiffmineError) => thrown.code,
    );

  test('before the call', async () => {
    const pixels = new Uint8Array(image.pixels);
    const data = new Uint8Array(latents.data);
    detach(pixels);
    detach(data);
    expect(await code(engine.encodeImages([{ ...image, pixels }]))).toBe('INVALID_ARGUMENT');
    expect(await code(engine.vaeDecode({ ...latents, data }))).toBe('INVALID_ARGUMENT');
  });

  test('a view that a shrunk buffer no longer covers', async () => {
    const buffer = resizable(latents.data.byteLength);
    const data = new Uint8Array(buffer, 0, latents.data.byteLength);
    (buffer as Resizable).resize(16);
    expect(await code(engine.vaeDecode({ ...latents, data }))).toBe('INVALID_ARGUMENT');
  });

  test('by a getter of the same image, or of a later one', async () => {
    const hostile = (taken: Uint8Array): Image => ({
      pixels: new Uint8Array(image.pixels),
      width: 64,
      get height() {
        detach(taken);
        return 64;
      },
    });
    const pixels = new Uint8Array(image.pixels);
    expect(await code(engine.encodeImages([{ ...image, pixels }, hostile(pixels)]))).toBe('INVALID_ARGUMENT');
    const own = new Uint8Array(image.pixels);
    expect(await code(engine.encodeImages([Object.defineProperty(hostile(own), 'pixels', { value: own })]))).toBe(
      'INVALID_ARGUMENT',
    );
    const data = new Uint8Array(latents.data);
    expect(
      await code(
        engine.vaeDecode({
          dtype: 'F32',
          data,
          get shape() {
            detach(data);
            return latents.shape;
          },
        }),
      ),
    ).toBe('INVALID_ARGUMENT');
  });
});
