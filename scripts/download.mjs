// A large file over HTTP(S): resumed where a former try stopped, checked against its SHA-256, through the proxy of the
// environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY: Node's own fetch ignores them).
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Readable, Transform } from 'node:stream';
import { cancelSignal, say, SetupError } from './steps.mjs';

async function sha256(file) {
  const hash = createHash('sha256');
  await pipeline(fs.createReadStream(file), hash);
  return hash.digest('hex');
}

/** A few words for why a request failed: fetch says only "fetch failed" and hides the reason in its causes. */
export function reasonOf(error) {
  const causes = [];
  for (let e = error; e; e = e.cause ?? e.errors?.[0]) causes.push(e);
  const last = causes.at(-1);
  return last.code && !last.message.includes(last.code) ? `${last.code} ${last.message}`.trim() : last.message;
}

function meter(label, start, total) {
  let done = start;
  let told = Date.now();
  return new Transform({
    transform(chunk, _encoding, next) {
      done += chunk.length;
      if (Date.now() - told > 3000) {
        told = Date.now();
        say(`  ${label}: ${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`);
      }
      next(null, chunk);
    },
  });
}

/**
 * Downloads `url` to `file`; what is there already of `file.part` is kept and only the rest is asked for.
 * @param sha256Expected hex; a file with another sum is deleted and an error
 * @param connectTimeout ms: a host that cannot be reached fails after this, and `.part` stays for the next time
 */
export async function download(url, file, sha256Expected, { connectTimeout = 5000, stallTimeout = 30_000 } = {}) {
  const { EnvHttpProxyAgent, fetch } = await import('undici');
  const dispatcher = new EnvHttpProxyAgent({
    connect: { timeout: connectTimeout },
    headersTimeout: stallTimeout,
    bodyTimeout: stallTimeout,
  });
  const part = `${file}.part`;
  fs.mkdirSync(path.dirname(file), { recursive: true });
  try {
    for (;;) {
      const have = fs.statSync(part, { throwIfNoEntry: false })?.size ?? 0;
      const response = await fetch(url, {
        dispatcher,
        signal: cancelSignal(),
        headers: have ? { range: `bytes=${have}-` } : {},
      });
      if (response.status === 416) {
        // Nothing follows what is there: it is whole, or of another file. The sum below decides.
        await response.body?.cancel();
        if ((await sha256(part)) === sha256Expected) break;
        fs.rmSync(part);
        continue;
      }
      if (!response.ok) throw new SetupError(`${url} answered ${response.status}`);
      const resumed = response.status === 206;
      const start = resumed ? have : 0;
      if (resumed) say(`  resuming at ${(have / 1e6).toFixed(0)} MB`);
      const total = start + Number(response.headers.get('content-length') ?? 0);
      await pipeline(
        Readable.fromWeb(response.body),
        meter(path.basename(file), start, total),
        fs.createWriteStream(part, { flags: resumed ? 'a' : 'w' }),
      );
      break;
    }
  } finally {
    await dispatcher.destroy();
  }
  const sum = await sha256(part);
  if (sum !== sha256Expected) {
    fs.rmSync(part);
    throw new SetupError(
      `${url} has SHA-256 ${sum}, not ${sha256Expected}`,
      'The file was changed on its way or on its server, and was deleted.',
    );
  }
  fs.renameSync(part, file);
}
