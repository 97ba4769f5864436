// The AWS SDK's client, and what its errors say. Endpoint, region and credentials come from the SDK's usual variables and files.
// The SDK is an optional package: it is imported when the first bucket is opened.
import type { S3Client } from '@aws-sdk/client-s3';
import { DiffmineError } from '../errors.js';

export type Sdk = typeof import('@aws-sdk/client-s3');

/** How long a connection may take to be made, ms. */
const CONNECT = 10_000;
/** How long nothing may come over a connection that waits for an answer, ms. */
const SILENCE = 60_000;

let sdk: Promise<Sdk> | undefined;
const clients = new Map<string, Promise<S3Client>>();

/** @throws SETUP if it is not installed */
export async function load(): Promise<Sdk> {
  // its note on Node's version is for its own users
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
  sdk ??= import('@aws-sdk/client-s3').catch((cause: unknown) => {
    throw new DiffmineError(
      'SETUP',
      'Buckets need the package @aws-sdk/client-s3, which is not installed.',
      'Install it beside diffmine: npm install @aws-sdk/client-s3.',
      { cause },
    );
  });
  return sdk;
}

/** One client for each server: it keeps connections. */
export async function connect(): Promise<S3Client> {
  const endpoint = process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL'];
  const known = clients.get(endpoint ?? '');
  if (known) return known;
  const client = load().then(({ S3Client: Client }) => {
    return new Client({
      // self-hosted servers often have neither bucket.host names nor a region
      ...(endpoint ? { endpoint, forcePathStyle: true } : {}),
      ...(endpoint && !process.env['AWS_REGION'] ? { region: 'us-east-1' } : {}),
      // by default the SDK sends checksums as trailers, which other stores than AWS refuse (411)
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      maxAttempts: 6,
      // a server that went away without a word, or a network that was cut, is noticed: by default requests wait for ever
      requestHandler: { connectionTimeout: CONNECT, socketTimeout: SILENCE },
    });
  });
  clients.set(endpoint ?? '', client);
  return client;
}

/** What errors of the SDK, of Node and of streams may have. */
export interface Failure {
  name?: string;
  message?: string;
  code?: string;
  $metadata?: { httpStatusCode?: number };
}

export const statusOf = (error: unknown): number | undefined => (error as Failure | null)?.$metadata?.httpStatusCode;

/** Whether asking again can help: no answer at all, or one that says "later". */
export function isPassing(error: unknown): boolean {
  const status = statusOf(error);
  if (status !== undefined && status !== 200) return status >= 500 || status === 429 || status === 408;
  const { name = '', code = '', message = '' } = error as Failure;
  return (
    /^(ECONNRESET|ECONNREFUSED|EPIPE|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ENETDOWN|ERR_STREAM_PREMATURE_CLOSE)$/.test(
      code,
    ) ||
    name === 'TimeoutError' ||
    /socket hang up|aborted|premature close/i.test(message)
  );
}
