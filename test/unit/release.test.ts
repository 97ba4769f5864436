// The scripts of a release: the text cut from the changelog, and publishing, to a registry of this process by the real npm.
import { spawn, spawnSync } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { temporaryFolder } from '../helpers/folders.js';

const ROOT = resolve(__dirname, '../..');
const script = (name: string): string => join(ROOT, 'scripts', name);

describe('release-notes.mjs', () => {
  const notes = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync('node', [script('release-notes.mjs'), ...args], { encoding: 'utf8' });
  const sections = (changelog: string, name: string): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(
      'node',
      [
        '--input-type=module',
        '-e',
        `import { sectionOf } from ${JSON.stringify(script('release-notes.mjs'))};
         import { readFileSync } from 'node:fs';
         process.stdout.write(sectionOf(readFileSync(0, 'utf8'), ${JSON.stringify(name)}));`,
      ],
      { encoding: 'utf8', input: changelog },
    );
  const changelog = [
    '# Changelog',
    '',
    '## Unreleased',
    '',
    '## 0.10.0 - 2026-12-01',
    '',
    'A sentence.',
    '',
    '### Added',
    '',
    '- One,',
    '  on two lines.',
    '',
    '### Fixed',
    '',
    '### Removed',
    '',
    '- Two.',
    '',
    '## [0.1.0] - 2026-11-01',
    '',
    '### Added',
    '',
    '- All.',
    '',
  ].join('\n');

  it('cuts out the section of a version, without headings that are empty', () => {
    expect(sections(changelog, '0.10.0').stdout).toBe(
      'A sentence.\n\n### Added\n\n- One,\n  on two lines.\n\n### Removed\n\n- Two.\n',
    );
    expect(sections(changelog, '0.1.0').stdout).toBe('### Added\n\n- All.\n');
  });

  it('fails for a version without a section, and for an empty section', () => {
    for (const name of ['0.2.0', '0.1', 'Unreleased']) expect(sections(changelog, name).status).toBe(1);
  });

  it('fails for a tag that is not the version', () => {
    const { status, stderr } = notes('--tag', 'v99.0.0');
    expect(status).not.toBe(0);
    expect(stderr).toContain('v99.0.0');
  });

  it('reads the changelog of the project', () => {
    expect(notes('--unreleased').stdout).toMatch(/^### \w+\n\n- /);
  });
});

describe('publish.mjs', () => {
  const folder = temporaryFolder();
  const packages = new Map<string, Record<string, unknown>>();
  const tags: string[] = [];
  let server: Server;
  let registry = '';

  beforeAll(async () => {
    server = createServer((request, response) => {
      const name = decodeURIComponent((request.url ?? '').slice(1).split('?')[0] as string);
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        response.setHeader('content-type', 'application/json');
        if (request.method === 'PUT') {
          const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
          packages.set(name, body);
          tags.push(`${name}:${Object.keys(body['dist-tags'] as object).join()}`);
          response.statusCode = 201;
          response.end('{"ok":true}');
        } else {
          const found = packages.get(name);
          response.statusCode = found ? 200 : 404;
          response.end(JSON.stringify(found ?? { error: 'not_found' }));
        }
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    registry = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });

  afterAll(() => {
    server.close();
  });

  function pack(name: string, version: string, more: object = {}): void {
    const source = join(folder, 'source', 'package');
    rmSync(source, { recursive: true, force: true });
    mkdirSync(source, { recursive: true });
    mkdirSync(join(folder, 'out'), { recursive: true });
    writeFileSync(join(source, 'package.json'), JSON.stringify({ name, version, ...more }));
    const file = join(folder, 'out', `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);
    expect(spawnSync('tar', ['czf', file, '-C', join(folder, 'source'), 'package']).status).toBe(0);
  }

  async function publish(...args: string[]): Promise<{ code: number | null; output: string }> {
    writeFileSync(join(folder, 'npmrc'), `//${new URL(registry).host}/:_authToken=token\n`);
    const settings = { npm_config_userconfig: join(folder, 'npmrc'), npm_config_cache: join(folder, 'cache') };
    const child = spawn('node', [script('publish.mjs'), join(folder, 'out'), '--registry', registry, ...args], {
      env: { ...process.env, ...settings },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (output += String(part)));
    return new Promise((done) => child.on('close', (code) => done({ code, output })));
  }

  it('refuses a release whose platform packages are missing', async () => {
    pack('diffmine', '0.2.0-rc.1', { optionalDependencies: { '@diffmine/linux-x64': '0.2.0-rc.1', sharp: '1' } });
    const { code, output } = await publish();
    expect(code).not.toBe(0);
    expect(output).toContain('@diffmine/linux-x64 0.2.0-rc.1');
    expect(tags).toEqual([]);
  });

  it('publishes platform packages first, pre-releases as next, and nothing twice', async () => {
    pack('@diffmine/linux-x64', '0.2.0-rc.1');
    const first = await publish();
    expect(first).toMatchObject({ code: 0 });
    expect(tags).toEqual(['@diffmine/linux-x64:next', 'diffmine:next']);
    const again = await publish();
    expect(again).toMatchObject({ code: 0 });
    expect(again.output).toContain('diffmine@0.2.0-rc.1 is published already');
    expect(tags).toHaveLength(2);
    const [stored] = Object.values(packages.get('diffmine')?.['_attachments'] as Record<string, { data: string }>);
    expect(Buffer.from(stored?.data ?? '', 'base64')).toEqual(
      readFileSync(join(folder, 'out', 'diffmine-0.2.0-rc.1.tgz')),
    );
  });

  it('refuses provenance without a repository, and tarballs of two versions', async () => {
    expect((await publish('--provenance')).output).toContain('repository');
    pack('@diffmine/linux-arm64', '0.1.0');
    expect((await publish()).output).toContain('@diffmine/linux-arm64 0.1.0');
  });
});
