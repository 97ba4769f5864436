// Models of the Hugging Face hub: what is fetched, how it lies in the cache, and what goes wrong on the way.
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
  mkdirSync,
  cpSync,
} from 'node:fs';
import path from 'node:path';
import { cached, plan, pull } from '../../src/models/hub/hub.js';
import { hubEnvironment } from '../../src/models/hub/environment.js';
import { neededFiles } from '../../src/models/hub/files.js';
import { formatHubId, parseHubId, type HubId } from '../../src/models/hub/id.js';
import { estimate } from '../../src/tools/estimate/estimate.js';
import { inspect } from '../../src/tools/inspect/inspect.js';
import { pullModel } from '../../src/tools/pull/pull.js';
import { openModel } from '../../src/models/index.js';
import { recordedModel } from '../../src/models/locate.js';
import { filesOf, gitHash, lfsHash, startHub, type HubRepository, type HubServer } from '../helpers/hub-server.js';
import { GOLDEN, temporaryFolder } from '../helpers/folders.js';

const root = temporaryFolder();
const sd15 = path.join(GOLDEN, 'tiny-sd15');
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const NEWER = 'fedcba9876543210fedcba9876543210fedcba98';
const UNET = 'unet/diffusion_pytorch_model.safetensors';
const error = (code: string, message: RegExp, hint?: RegExp) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message) as unknown,
    ...(hint && { hint: expect.stringMatching(hint) as unknown }),
  });
const id = (text: string): HubId => parseHubId(text) as HubId;
const ID = id('tiny/sd15');

let hub: HubServer;
let caches = 0;
let cache = '';
const golden = filesOf(sd15);
/** As repositories on the hub are: with other formats, parts that are not read, and a page. */
const repository = (): HubRepository => ({
  commit: COMMIT,
  refs: ['v1', 'refs/pr/3'],
  files: {
    ...golden,
    'README.md': Buffer.from('# A model'),
    'unet/diffusion_pytorch_model.bin': Buffer.alloc(200_000),
    'unet/diffusion_pytorch_model.fp16.safetensors': golden[UNET] as Uint8Array,
    'unet/diffusion_pytorch_model.non_ema.safetensors': golden[UNET] as Uint8Array,
    'safety_checker/model.safetensors': Buffer.alloc(200_000),
    'v1-5-pruned.safetensors': Buffer.alloc(200_000),
  },
});

beforeAll(async () => {
  hub = await startHub({});
});
afterAll(async () => hub.close());
beforeEach(() => {
  hub.repositories = { 'tiny/sd15': repository() };
  hub.requests.length = 0;
  hub.breakAfter = () => undefined;
  hub.kept = () => true;
  hub.damage = (_, content) => content;
  hub.ranges = true;
  cache = path.join(root, `cache${++caches}`);
  Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HOME: cache, HF_HUB_OFFLINE: '0' });
  delete process.env.HF_TOKEN;
});

const folder = (): string => path.join(cache, 'hub', 'models--tiny--sd15');
const blob = (content: Uint8Array): string => path.join(folder(), 'blobs', lfsHash(content));

describe('ids', () => {
  test.each([
    ['a/b', { name: 'a/b', revision: 'main' }],
    [
      'stable-diffusion-v1-5/stable-diffusion-v1-5:fp16',
      { name: 'stable-diffusion-v1-5/stable-diffusion-v1-5', revision: 'main', variant: 'fp16' },
    ],
    ['a/b.c@refs/pr/3:non_ema', { name: 'a/b.c', revision: 'refs/pr/3', variant: 'non_ema' }],
  ])('%s', (text, parsed) => {
    expect(parseHubId(text)).toEqual(parsed);
    expect(formatHubId(parsed)).toBe(text);
  });
  test.each([
    'a',
    './a/b',
    '/a/b',
    '../b',
    'a/b/c',
    'a/..',
    'a/b@../../x',
    'a/b@x/',
    'a/b:',
    'C:\\a',
    'models/a.safetensors/x',
  ])('not %s', (text) => {
    expect(parseHubId(text)).toBeUndefined();
  });

  test('a path that exists wins, and that is said', async () => {
    const told: string[] = [];
    const here = process.cwd();
    const place = path.join(root, 'here');
    cpSync(sd15, path.join(place, 'tiny', 'sd15'), { recursive: true });
    process.chdir(place);
    try {
      const model = await openModel('tiny/sd15', {}, { onLog: (line) => told.push(line) });
      expect(model.hub).toBeUndefined();
      expect(hub.requests).toEqual([]);
      expect(told).toEqual([expect.stringMatching(/local path 'tiny\/sd15'/)]);
    } finally {
      process.chdir(here);
    }
  });
});

test('the environment of Hugging Face', async () => {
  mkdirSync(cache, { recursive: true });
  writeFileSync(path.join(cache, 'token'), 'hf_file\n');
  await expect(hubEnvironment({ HF_HOME: cache })).resolves.toEqual({
    endpoint: 'https://huggingface.co',
    cache: path.join(cache, 'hub'),
    offline: false,
    token: 'hf_file',
  });
  await expect(
    hubEnvironment({
      HF_HOME: cache,
      HF_HUB_CACHE: '/there',
      HF_TOKEN: ' hf_x ',
      HF_HUB_OFFLINE: 'Yes',
      HF_ENDPOINT: 'http://mirror/',
    }),
  ).resolves.toEqual({ endpoint: 'http://mirror', cache: '/there', offline: true, token: 'hf_x' });
  expect((await hubEnvironment({ XDG_CACHE_HOME: '/xdg' })).cache).toBe('/xdg/huggingface/hub');
});

describe('a model that is fetched', () => {
  test('lies in the standard layout, opens like its folder, and needs no network again', async () => {
    const told: string[] = [];
    const progress: number[] = [];
    const model = await openModel(
      'tiny/sd15',
      {},
      { onLog: (line) => told.push(line), onProgress: ({ done }) => progress.push(done) },
    );
    const local = await openModel(sd15);
    expect(model).toMatchObject({
      hub: { id: 'tiny/sd15', revision: COMMIT },
      path: path.join(folder(), 'snapshots', COMMIT),
      fingerprint: local.fingerprint,
    });
    expect(model.summary()).toMatchObject({ hub: { id: 'tiny/sd15', revision: COMMIT } });
    expect(told).toEqual([
      expect.stringMatching(/^Downloading tiny\/sd15: 3\.\d MB into/),
      expect.stringMatching(/^Using tiny\/sd15 at 01234567 of the Hugging Face hub/),
    ]);
    expect(progress.at(-1)).toBe(3);
    // names and links as huggingface_hub makes them
    expect(readFileSync(path.join(folder(), 'refs', 'main'), 'utf8')).toBe(COMMIT);
    const config = readFileSync(path.join(sd15, 'unet', 'config.json'));
    expect(readlinkSync(path.join(model.path, UNET))).toBe(`../../../blobs/${lfsHash(golden[UNET] as Uint8Array)}`);
    expect(readlinkSync(path.join(model.path, 'unet', 'config.json'))).toBe(`../../../blobs/${gitHash(config)}`);
    expect(readlinkSync(path.join(model.path, 'model_index.json'))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
    expect(readdirSync(folder()).sort()).toEqual(['blobs', 'refs', 'snapshots']);
    expect(readdirSync(path.join(folder(), 'blobs')).every((name) => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(name))).toBe(
      true,
    );
    // nothing but what is read
    expect(Object.keys(filesOf(model.path)).sort()).toEqual(Object.keys(golden).sort());
    hub.requests.length = 0;
    process.env.HF_HUB_OFFLINE = '1';
    await expect(openModel('tiny/sd15')).resolves.toMatchObject({ fingerprint: local.fingerprint });
    await expect(openModel(`tiny/sd15@${COMMIT}`)).resolves.toMatchObject({ fingerprint: local.fingerprint });
    expect(hub.requests).toEqual([]);
  });

  test('of a branch with slashes, and of a variant for components that have it', async () => {
    const model = await openModel('tiny/sd15@refs/pr/3:fp16');
    expect(model).toMatchObject({ variant: 'fp16', hub: { revision: COMMIT } });
    expect(readFileSync(path.join(folder(), 'refs', 'refs', 'pr', '3'), 'utf8')).toBe(COMMIT);
    expect(readdirSync(path.join(model.path, 'unet')).sort()).toEqual([
      'config.json',
      'diffusion_pytorch_model.fp16.safetensors',
    ]);
    // the same weights under two names are one blob
    expect(existsSync(blob(golden[UNET] as Uint8Array))).toBe(true);
    hub.requests.length = 0;
    await expect(openModel('tiny/sd15@refs/pr/3', { variant: 'fp16' })).resolves.toMatchObject({ variant: 'fp16' });
    expect(hub.requests).toEqual([]);
    await expect(openModel('tiny/sd15:fp16', { variant: 'bf16' })).rejects.toEqual(
      error('INVALID_ARGUMENT', /fp16.*bf16/),
    );
    await expect(openModel('tiny/sd15:int8')).rejects.toEqual(
      error('INVALID_ARGUMENT', /no weights of the variant 'int8'/),
    );
  });

  test('without a variant, weights of fp16 in the cache do not stand for those of the repository', async () => {
    await openModel('tiny/sd15:fp16');
    await expect(cached(ID)).resolves.toBeUndefined();
    const model = await openModel('tiny/sd15');
    expect(readdirSync(path.join(model.path, 'unet'))).toContain('diffusion_pytorch_model.safetensors');
    // where the repository has no others, this is asked once
    const { files } = hub.repositories['tiny/sd15'] as HubRepository;
    for (const name of Object.keys(files))
      if (/diffusion_pytorch_model(\.non_ema)?\.safetensors$/.test(name) && name.startsWith('unet')) delete files[name];
    (hub.repositories['tiny/sd15'] as HubRepository).commit = NEWER;
    (hub.repositories['tiny/sd15'] as HubRepository).refs = ['half'];
    await openModel('tiny/sd15@half');
    hub.requests.length = 0;
    await expect(openModel('tiny/sd15@half')).resolves.toMatchObject({ hub: { revision: NEWER } });
    expect(hub.requests).toEqual([]);
  });

  test('stays the cached commit until it is pulled again; unchanged files are not fetched again', async () => {
    await openModel('tiny/sd15');
    const one = hub.repositories['tiny/sd15'] as HubRepository;
    one.commit = NEWER;
    one.files['scheduler/scheduler_config.json'] = Buffer.from(
      readFileSync(path.join(sd15, 'scheduler', 'scheduler_config.json'), 'utf8').replace('0.012', '0.013'),
    );
    expect((await openModel('tiny/sd15')).hub?.revision).toBe(COMMIT);
    hub.requests.length = 0;
    const found = await pull(ID);
    expect(found).toMatchObject({ commit: NEWER, fetched: one.files['scheduler/scheduler_config.json']?.length });
    expect(hub.requests.filter((line) => line.includes('/resolve/')).map((line) => path.basename(line))).toEqual([
      'model_index.json',
      'scheduler_config.json',
    ]);
    const now = await openModel('tiny/sd15');
    expect(now.hub?.revision).toBe(NEWER);
    expect(now.source.schedule.betaEnd).toBe(0.013);
    expect((await openModel(`tiny/sd15@${COMMIT}`)).source.schedule.betaEnd).toBe(0.012);
    // as a run records it
    await expect(recordedModel(now)).resolves.toBe(now.path);
    rmSync(now.path, { recursive: true });
    await expect(recordedModel(now)).resolves.toBe(`tiny/sd15@${NEWER}`);
  });

  test('is planned without fetching it', async () => {
    const found = await plan(ID);
    expect(found.files.map((file) => file.path)).toEqual(Object.keys(golden).sort());
    expect(found.files.every((file) => file.cached === 0)).toBe(true);
    expect(found.files.find((file) => file.path === UNET)?.size).toBe((golden[UNET] as Uint8Array).length);
    expect(existsSync(folder())).toBe(false);
  });

  test('with shards', async () => {
    const { files } = hub.repositories['tiny/sd15'] as HubRepository;
    const names = [
      'unet/diffusion_pytorch_model-00001-of-00002.safetensors',
      'unet/diffusion_pytorch_model-00002-of-00002.safetensors',
    ];
    const index = 'unet/diffusion_pytorch_model.safetensors.index.json';
    const all = [...Object.keys(files).filter((name) => name !== UNET && !name.includes('fp16')), index, ...names];
    const json = JSON.parse(Buffer.from(golden['model_index.json'] as Uint8Array).toString()) as Record<
      string,
      unknown
    >;
    expect(neededFiles(all, json)).toMatchObject({
      complete: true,
      files: expect.arrayContaining([index, ...names]) as unknown,
    });
    expect(neededFiles(all.slice(0, -1), json).complete).toBe(false);
    expect(
      neededFiles(
        [...all, index.replace('index', 'index.fp16'), ...names.map((name) => name.replace('model-', 'model.fp16-'))],
        json,
        { variant: 'fp16' },
      ).files,
    ).toEqual(expect.arrayContaining(['unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors']));
  });

  test('twice at once', async () => {
    const told: string[] = [];
    const models = await Promise.all(
      [0, 1].map(async () => openModel('tiny/sd15', {}, { onLog: (line) => told.push(line) })),
    );
    expect(new Set(models.map(({ fingerprint }) => fingerprint)).size).toBe(1);
    expect(hub.requests.filter((line) => line.endsWith(UNET))).toHaveLength(1);
    expect(told).toContainEqual(
      expect.stringMatching(/^Waiting for process \d+ on .*, which is downloading tiny\/sd15/),
    );
  });
});

describe('commands', () => {
  test('pull --dry-run and inspect list files and fetch none; pull fetches, and says how much', async () => {
    const listed = await pullModel('tiny/sd15', { dryRun: true });
    expect(listed).toMatchObject({ model: 'tiny/sd15', revision: COMMIT, fetched: 0, missing: listed.bytes });
    expect(listed.files).toContainEqual({ path: UNET, size: 2_483_856, cached: 0 });
    await expect(inspect('tiny/sd15')).resolves.toMatchObject({ kind: 'hub', files: listed.files });
    await expect(
      estimate({ dataset: path.join(GOLDEN, 'mini-dataset'), model: 'tiny/sd15', calibrate: false }),
    ).rejects.toEqual(
      error('MODEL_INVALID', /not in the cache: 12 files, 3\.\d MB to download/, /diffmine pull tiny\/sd15/),
    );
    expect(existsSync(folder())).toBe(false);
    await expect(pullModel('tiny/sd15', { variant: 'fp16' })).resolves.toMatchObject({
      fetched: listed.bytes,
      missing: listed.bytes,
    });
    await expect(pullModel('tiny/sd15:fp16')).resolves.toMatchObject({ fetched: 0, missing: 0 });
    await expect(inspect('tiny/sd15:fp16')).resolves.toMatchObject({
      kind: 'model',
      summary: { hub: { revision: COMMIT } },
    });
    await expect(pullModel('./tiny')).rejects.toEqual(error('INVALID_ARGUMENT', /not a model of the Hugging Face hub/));
  });
});

describe('what goes wrong', () => {
  test('a transfer that breaks continues where it was; one that always breaks is resumed by the next command', async () => {
    let breaks = 2;
    hub.breakAfter = (file) => (file === UNET && breaks-- > 0 ? 1_000_000 : undefined);
    const part = `${blob(golden[UNET] as Uint8Array)}.diffmine-incomplete`;
    hub.kept = () => (statSync(part, { throwIfNoEntry: false })?.size ?? 0) > 0;
    await pull(ID);
    expect(
      hub.requests
        .filter((line) => line.includes('/resolve/') && line.includes(UNET))
        .map((line) => line.split(' ')[2]),
    ).toEqual([undefined, expect.stringMatching(/^bytes=\d+-$/), expect.stringMatching(/^bytes=\d+-$/)]);
    rmSync(cache, { recursive: true });
    hub.kept = () => true;
    // the connection breaks before anything arrives
    hub.breakAfter = (file) => (file === UNET ? 0 : undefined);
    await expect(pull(ID)).rejects.toEqual(error('IO', /'unet\/diff.*' broke off after 0 of 2483856 bytes/, /resume/));
    await expect(cached(ID)).resolves.toBeUndefined();
    hub.breakAfter = () => undefined;
    writeFileSync(part, (golden[UNET] as Uint8Array).slice(0, 5000));
    hub.requests.length = 0;
    await pull(ID);
    expect(hub.requests.filter((line) => line.endsWith('bytes=5000-')).length).toBeGreaterThan(0);
  });

  test('a server without ranges, or with another file than what was there', async () => {
    const part = `${blob(golden[UNET] as Uint8Array)}.diffmine-incomplete`;
    mkdirSync(path.dirname(part), { recursive: true });
    writeFileSync(part, (golden[UNET] as Uint8Array).slice(0, 5000));
    hub.ranges = false;
    await expect(pull(ID)).resolves.toBeDefined();
    rmSync(cache, { recursive: true });
    hub.ranges = true;
    mkdirSync(path.dirname(part), { recursive: true });
    writeFileSync(part, Buffer.alloc(5000, 7));
    await expect(pull(ID)).rejects.toEqual(error('IO', /has the hash/, /again/));
    await expect(pull(ID)).resolves.toBeDefined();
  });

  test('a file that is damaged on its way never gets its name', async () => {
    hub.damage = (file, content) =>
      file === UNET ? Buffer.concat([content.subarray(0, -1), Buffer.from([99])]) : content;
    await expect(pull(ID)).rejects.toEqual(error('IO', /'unet\/diff.*' has the hash [0-9a-f]{64} instead of/));
    hub.damage = (file, content) => (file === 'vae/config.json' ? Buffer.alloc(content.length, 32) : content);
    await expect(pull(ID)).rejects.toEqual(error('IO', /'vae\/config.json' has the hash [0-9a-f]{40} instead/));
    const blobs = readdirSync(path.join(folder(), 'blobs'));
    expect(blobs).not.toContain(gitHash(golden['vae/config.json'] as Uint8Array));
    expect(existsSync(path.join(folder(), 'refs'))).toBe(false);
  });

  test('gated, with and without a token', async () => {
    Object.assign(hub.repositories['tiny/sd15'] as HubRepository, { gated: true, token: 'hf_mine' });
    const page = new RegExp(
      `Accept its conditions at ${hub.endpoint}/tiny/sd15, and set HF_TOKEN \\(or run \`hf auth login\`\\)\\.$`,
    );
    await expect(pull(ID)).rejects.toEqual(error('MODEL_INVALID', /is gated \(401\)/, page));
    process.env.HF_TOKEN = 'hf_other';
    await expect(pull(ID)).rejects.toEqual(
      error('MODEL_INVALID', /is gated \(403\)/, /check that HF_TOKEN is a token of an account that may read it\.$/),
    );
    process.env.HF_TOKEN = 'hf_mine';
    await expect(pull(ID)).resolves.toBeDefined();
  });

  test('not there, private, no such revision, not a model', async () => {
    await expect(openModel('tiny/none')).rejects.toEqual(
      error(
        'MODEL_INVALID',
        /neither a folder 'tiny\/none' here nor a model 'tiny\/none' at http.* \(401\)/,
        /For a private model, set HF_TOKEN/,
      ),
    );
    await expect(openModel('tiny/sd15@nowhere')).rejects.toEqual(error('MODEL_INVALID', /no revision 'nowhere'/));
    hub.repositories['tiny/words'] = { commit: COMMIT, files: { 'README.md': Buffer.from('x') } };
    await expect(openModel('tiny/words')).rejects.toEqual(error('MODEL_INVALID', /no model_index.json/));
    const one = hub.repositories['tiny/sd15'] as HubRepository;
    for (const name of Object.keys(one.files))
      if (name.startsWith('unet/') && name.endsWith('.safetensors')) delete one.files[name];
    await expect(pull(ID)).rejects.toEqual(
      error('MODEL_INVALID', /lacks safetensors weights/, /from_pretrained\("tiny\/sd15"\)\.save_pretrained\("sd15"\)/),
    );
    await expect(pull(id('tiny/sd15@v1:fp16'))).rejects.toEqual(
      error('MODEL_INVALID', /lacks/, /from_pretrained\("tiny\/sd15", revision="v1", variant="fp16"\)/),
    );
    expect(existsSync(path.join(folder(), 'blobs'))).toBe(false);
  });

  test('renamed: followed, said, and cached under the name that was given', async () => {
    const told: string[] = [];
    hub.repositories['new/name'] = repository();
    hub.repositories['tiny/sd15'] = { ...repository(), renamed: 'new/name' };
    const model = await openModel('tiny/sd15', {}, { onLog: (line) => told.push(line) });
    expect(told[0]).toBe('The model tiny/sd15 is now called new/name.');
    expect(model.path).toContain('models--tiny--sd15');
    await expect(cached(ID)).resolves.toMatchObject({ commit: COMMIT });
  });

  test('offline, or no network', async () => {
    process.env.HF_HUB_OFFLINE = '1';
    await expect(openModel('tiny/sd15@v1')).rejects.toEqual(
      error('IO', /neither a folder here.*HF_HUB_OFFLINE is set/, /diffmine pull tiny\/sd15@v1/),
    );
    await expect(plan(ID)).rejects.toEqual(error('IO', /HF_HUB_OFFLINE/));
    expect(hub.requests).toEqual([]);
    Object.assign(process.env, { HF_HUB_OFFLINE: '0', HF_ENDPOINT: 'http://127.0.0.1:59999' });
    await expect(pull(ID)).rejects.toEqual(
      error('IO', /http:\/\/127\.0\.0\.1:59999 cannot be reached \(.*ECONNREFUSED/, /network/),
    );
  });

  test('cancelled in the middle, and resumed', async () => {
    const abort = new AbortController();
    hub.breakAfter = (file) => {
      if (file !== UNET) return undefined;
      abort.abort();
      return 1000;
    };
    await expect(pull(ID, {}, { signal: abort.signal })).rejects.toMatchObject({ name: 'AbortError' });
    hub.breakAfter = () => undefined;
    await expect(pull(ID)).resolves.toBeDefined();
  });

  test('a cache of another tool: copies instead of links, and a dangling link', async () => {
    const snapshot = path.join(folder(), 'snapshots', COMMIT);
    cpSync(sd15, snapshot, { recursive: true });
    mkdirSync(path.join(folder(), 'refs'), { recursive: true });
    writeFileSync(path.join(folder(), 'refs', 'main'), COMMIT);
    await expect(openModel('tiny/sd15')).resolves.toMatchObject({ hub: { revision: COMMIT } });
    expect(hub.requests).toEqual([]);
    rmSync(cache, { recursive: true });
    await pull(ID);
    rmSync(blob(golden[UNET] as Uint8Array));
    expect(lstatSync(path.join(snapshot, UNET)).isSymbolicLink()).toBe(true);
    await expect(cached(ID)).resolves.toBeUndefined();
    await expect(pull(ID)).resolves.toBeDefined();
  });
});
