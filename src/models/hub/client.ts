// Requests to the hub: @huggingface/hub asks its API, through a fetch that uses the proxy and the token of the environment and turns refusals into
// errors that say what to do.
import type { Dispatcher } from 'undici';
import { VERSION } from '../../util/version.js';
import { DiffmineError } from '../../util/errors.js';
import type { HubEnvironment } from './environment.js';
import type { HubId } from './id.js';

/** ms without an answer, or without a byte of it, after which a connection counts as broken */
const TIMEOUT = { connect: 10_000, stall: 30_000 };

/** A file of a repository. */
export interface HubFile {
  path: string;
  /** bytes */
  size: number;
  /** the name of its blob in the cache: SHA-256 of the content where Git LFS keeps it, else Git's SHA-1 of blobs */
  etag: string;
}

export interface HubModel {
  /** as it is called now */
  name: string;
  commit: string;
  files: HubFile[];
}

export class HubClient {
  private dispatcher: Dispatcher | undefined;

  constructor(
    private readonly environment: HubEnvironment,
    private readonly id: HubId,
    private readonly signal?: AbortSignal,
  ) {}

  /** The page of the model. */
  get page(): string {
    return `${this.environment.endpoint}/${this.id.name}`;
  }

  /** The files of the revision, which need not be those of the next call. */
  async model(): Promise<HubModel> {
    const { listFiles, modelInfo } = await import('@huggingface/hub');
    const { name, revision } = this.id;
    const common = { hubUrl: this.environment.endpoint, fetch: this.fetch as typeof fetch };
    const info = await modelInfo({ ...common, name, revision, additionalFields: ['sha'] });
    if (!/^[0-9a-f]{40}$/.test(info.sha)) throw this.unexpected('the commit of the revision');
    const files: HubFile[] = [];
    for await (const entry of listFiles({ ...common, repo: info.name, revision: info.sha, recursive: true })) {
      if (entry.type !== 'file') continue;
      const { path, size, oid, lfs } = entry;
      const etag = lfs?.oid ?? oid ?? '';
      // both become paths in the cache
      if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) throw this.unexpected(`the content of '${path}'`);
      if (path.split('/').every((part) => /^\w[\w .+-]*$/.test(part)))
        files.push({ path, size: lfs?.size ?? size, etag });
    }
    return { name: info.name, commit: info.sha, files };
  }

  /** The content of a file from byte `begin` on; from the first where the server cannot do that. */
  async content(commit: string, file: string, begin = 0): Promise<{ begin: number; body: AsyncIterable<Uint8Array> }> {
    const url = `${this.page}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`;
    const response = await this.fetch(url, {
      // ranges are of the file itself
      headers: { 'accept-encoding': 'identity', ...(begin > 0 ? { range: `bytes=${begin}-` } : {}) },
    });
    if (response.status !== 206 && begin > 0) begin = 0;
    if (response.body === null) throw this.unexpected(`the content of '${file}'`);
    return { begin, body: response.body as unknown as AsyncIterable<Uint8Array> };
  }

  async close(): Promise<void> {
    await this.dispatcher?.destroy();
  }

  private readonly fetch = async (
    url: string,
    options: { headers?: Record<string, string> } = {},
  ): Promise<Response> => {
    const { EnvHttpProxyAgent, fetch: request } = await import('undici');
    this.dispatcher ??= new EnvHttpProxyAgent({
      connect: { timeout: TIMEOUT.connect },
      headersTimeout: TIMEOUT.stall,
      bodyTimeout: TIMEOUT.stall,
    });
    const { endpoint, token } = this.environment;
    const headers = {
      ...options.headers,
      'user-agent': `diffmine/${VERSION}`,
      // redirects to another host do not get it
      ...(token !== undefined && url.startsWith(`${endpoint}/`) ? { authorization: `Bearer ${token}` } : {}),
    };
    const { dispatcher, signal } = this;
    const response = await request(url, { headers, dispatcher, ...(signal ? { signal } : {}) }).catch(
      (cause: unknown) => {
        throw signal?.aborted ? cause : this.unreachable(cause);
      },
    );
    if (!response.ok) {
      await response.body?.cancel();
      throw this.refused(response.status, response.headers.get('x-error-code') ?? '');
    }
    const answered: unknown = response; // undici's class, not the global one
    return answered as Response;
  };

  private unreachable(cause: unknown): DiffmineError {
    return new DiffmineError(
      'IO',
      `'${this.id.name}' is neither a folder here nor completely in the cache, and ${this.environment.endpoint} cannot be reached (${reasonOf(cause)}).`,
      'Check the name, and the network (HTTPS_PROXY and HF_ENDPOINT are followed).',
      { cause },
    );
  }

  private unexpected(what: string): DiffmineError {
    return new DiffmineError('IO', `${this.page}: the answer does not say ${what}.`, 'Is HF_ENDPOINT a hub?');
  }

  private refused(status: number, code: string): DiffmineError {
    const { page } = this;
    const { name, revision } = this.id;
    const { token, endpoint } = this.environment;
    const authenticate =
      token === undefined
        ? 'set HF_TOKEN (or run `hf auth login`)'
        : 'check that HF_TOKEN is a token of an account that may read it';
    if (code === 'RevisionNotFound')
      return new DiffmineError(
        'MODEL_INVALID',
        `The model ${page} has no revision '${revision}'.`,
        'Give a branch, a tag or a commit of it after @.',
      );
    // to those without a token, the hub answers 401 for a model that does not exist
    if (code === 'GatedRepo' || status === 403 || (status === 401 && code !== 'RepoNotFound'))
      return new DiffmineError(
        'MODEL_INVALID',
        `The model ${page} is ${code === 'GatedRepo' || status === 403 ? 'gated' : 'not open to everyone'} (${status}).`,
        `Accept its conditions at ${page}, and ${authenticate}.`,
      );
    if (status === 404 || status === 401)
      return new DiffmineError(
        'MODEL_INVALID',
        `There is neither a folder '${name}' here nor a model '${name}' at ${endpoint} (${status}).`,
        `Check the name. For a private model, ${authenticate}.`,
      );
    return new DiffmineError(
      'IO',
      `${page}: the server answered ${status}.`,
      status === 429
        ? 'Too many requests: wait some minutes and run the same command again.'
        : 'Run the same command again later.',
    );
  }
}

/** Why a request failed: fetch itself says only that it did, and hides the reason in its causes. */
export function reasonOf(error: unknown): string {
  type Cause = { message?: string; code?: string; cause?: Cause; errors?: Cause[] };
  let last: Cause = error as Cause;
  for (let next: Cause | undefined = last; next; next = last.cause ?? last.errors?.[0]) last = next;
  const message = last.message ?? 'no reason given';
  return last.code !== undefined && !message.includes(last.code) ? `${last.code} ${message}`.trim() : message;
}
