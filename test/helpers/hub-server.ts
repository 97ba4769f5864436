// A server that speaks as much of the Hugging Face hub's API as diffmine uses, from files in memory: facts of a model, its files, and their content with
// redirects, ETags, ranges, and the ways in which it goes wrong.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';

export interface HubRepository {
  /** by path, with slashes */
  files: Record<string, Uint8Array>;
  /** 40 hex digits */
  commit: string;
  /** branches and tags beside main */
  refs?: string[];
  /** content is only for this token */
  token?: string;
  /** the owner has to accept each reader: refused as GatedRepo, instead of as not found */
  gated?: boolean;
  /** the repository's name now: everything else is redirected */
  renamed?: string;
}

export interface HubServer {
  endpoint: string;
  repositories: Record<string, HubRepository>;
  /** 'GET /path' or 'GET /path bytes=5-', in order */
  requests: string[];
  /** bytes of a content after which the connection breaks; asked for each request */
  breakAfter: (file: string) => number | undefined;
  /** whether the client has kept what a test needs it to keep: before that no connection breaks */
  kept: () => boolean;
  /** a change of each content on its way */
  damage: (file: string, content: Buffer) => Buffer;
  /** whether ranges are served; else the whole file is */
  ranges: boolean;
  close(): Promise<void>;
}

/** Files at least this long are kept as Git LFS keeps them. */
const LFS = 100_000;

const digest = (algorithm: string, ...parts: (string | Uint8Array)[]): string => {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};
export const gitHash = (content: Uint8Array): string => digest('sha1', `blob ${content.length}\0`, content);
export const lfsHash = (content: Uint8Array): string => digest('sha256', content);
const etagOf = (content: Uint8Array): string => (content.length >= LFS ? lfsHash(content) : gitHash(content));

/** The files of a folder, as a repository has them. */
export function filesOf(folder: string): Record<string, Uint8Array> {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return Object.fromEntries(
    names
      .filter((name) => statSync(path.join(folder, name)).isFile())
      .map((name) => [name, readFileSync(path.join(folder, name))]),
  );
}

export async function startHub(repositories: Record<string, HubRepository>): Promise<HubServer> {
  const hub: HubServer = {
    endpoint: '',
    repositories,
    requests: [],
    breakAfter: () => undefined,
    kept: () => true,
    damage: (_, content) => content,
    ranges: true,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  const server = createServer((request, response) => answer(hub, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  hub.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return hub;
}

function answer(hub: HubServer, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', hub.endpoint);
  const range = request.headers.range;
  hub.requests.push(`${request.method} ${url.pathname}${range === undefined ? '' : ` ${range}`}`);
  const refuse = (status: number, code: string): void => {
    response.writeHead(status, { 'x-error-code': code, 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: code }));
  };
  // what large files are redirected to
  const [, stored] = /^\/cdn\/(.+)$/.exec(url.pathname) ?? [];
  if (stored !== undefined) return send(hub, Buffer.from(stored, 'base64url').toString(), request, response);
  const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)/.exec(url.pathname);
  const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
  const name = api?.[1] ?? resolve?.[1] ?? '';
  const repository = hub.repositories[name];
  if (!repository) return refuse(request.headers.authorization === undefined ? 401 : 404, 'RepoNotFound');
  if (repository.renamed !== undefined) {
    response.writeHead(307, { location: url.pathname.replace(name, repository.renamed) + url.search });
    response.end();
    return;
  }
  const { files, commit, refs = [], token, gated = false } = repository;
  const allowed = token === undefined || request.headers.authorization === `Bearer ${token}`;
  // facts of a gated model are public, those of a private one are not
  if (!allowed && !gated) return refuse(401, 'RepoNotFound');
  const revision = decodeURIComponent(api?.[3] ?? resolve?.[2] ?? '');
  if (![commit, 'main', 'HEAD', ...refs].includes(revision)) return refuse(404, 'RevisionNotFound');
  if (api?.[2] === 'revision') {
    const siblings = Object.keys(files).map((rfilename) => ({ rfilename }));
    return json(response, { _id: '1', id: name, sha: commit, private: false, gated: gated ? 'auto' : false, siblings });
  }
  if (api) {
    const entries = Object.entries(files).map(([file, content]) => ({
      type: 'file',
      path: file,
      size: content.length,
      oid: gitHash(content),
      ...(content.length >= LFS ? { lfs: { oid: lfsHash(content), size: content.length, pointerSize: 134 } } : {}),
    }));
    const folders = [...new Set(Object.keys(files).map((file) => path.posix.dirname(file)))].filter(
      (one) => one !== '.',
    );
    // in two pages
    const all = [...folders.map((one) => ({ type: 'directory', path: one, size: 0, oid: commit })), ...entries];
    const half = Math.ceil(all.length / 2);
    if (url.searchParams.has('cursor')) return json(response, all.slice(half));
    url.searchParams.set('cursor', 'x');
    return json(response, all.slice(0, half), { link: `<${url.href}>; rel="next"` });
  }
  if (!allowed) return refuse(request.headers.authorization === undefined ? 401 : 403, 'GatedRepo');
  const file = decodeURIComponent(resolve?.[3] ?? '');
  const content = files[file];
  if (!content) return refuse(404, 'EntryNotFound');
  if (content.length < LFS) return send(hub, `${name} ${file}`, request, response);
  response.writeHead(302, {
    location: `/cdn/${Buffer.from(`${name} ${file}`).toString('base64url')}`,
    'x-linked-etag': `"${lfsHash(content)}"`,
    'x-linked-size': content.length,
    'x-repo-commit': commit,
  });
  response.end();
}

function json(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(value));
}

function send(hub: HubServer, stored: string, request: IncomingMessage, response: ServerResponse): void {
  const [name = '', file = ''] = stored.split(' ');
  const repository = hub.repositories[name];
  const original = repository?.files[file];
  if (!repository || !original) throw new Error(stored);
  const content = hub.damage(file, Buffer.from(original));
  const [, from] = (hub.ranges ? /^bytes=(\d+)-/.exec(request.headers.range ?? '') : null) ?? [];
  const begin = Number(from ?? 0);
  if (begin >= content.length && begin > 0) {
    response.writeHead(416, { 'content-range': `bytes */${content.length}` });
    response.end();
    return;
  }
  response.writeHead(from === undefined ? 200 : 206, {
    etag: `"${etagOf(original)}"`,
    'x-repo-commit': repository.commit,
    'content-length': content.length - begin,
    'accept-ranges': 'bytes',
    ...(from === undefined ? {} : { 'content-range': `bytes ${begin}-${content.length - 1}/${content.length}` }),
  });
  const end = hub.breakAfter(file);
  if (end === undefined) return void response.end(content.subarray(begin));
  response.write(content.subarray(begin, begin + end));
  const wait = setInterval(() => {
    if (!response.destroyed && !hub.kept()) return;
    clearInterval(wait);
    response.destroy();
  }, 20);
}
