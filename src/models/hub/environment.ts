// What Hugging Face's own tools read from the environment, with their names and defaults.
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

export interface HubEnvironment {
  /** without a slash at its end */
  endpoint: string;
  /** the folder that has models--owner--name */
  cache: string;
  /** nothing may be asked over the network */
  offline: boolean;
  token?: string;
}

type Variables = Record<string, string | undefined>;

/** Reads HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN and HF_TOKEN_PATH (a file, which `hf auth login` writes). */
export async function hubEnvironment(variables: Variables = process.env): Promise<HubEnvironment> {
  const first = (...names: string[]): string | undefined =>
    names.map((name) => variables[name]?.trim()).find((value) => value !== undefined && value !== '');
  const home = expand(first('HF_HOME') ?? path.join(first('XDG_CACHE_HOME') ?? '~/.cache', 'huggingface'));
  const tokenFile = expand(first('HF_TOKEN_PATH') ?? path.join(home, 'token'));
  const token =
    first('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN') ?? (await readFile(tokenFile, 'utf8').catch(() => '')).trim();
  return {
    endpoint: (first('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, ''),
    cache: expand(first('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE') ?? path.join(home, 'hub')),
    offline: /^(1|on|yes|true)$/i.test(first('HF_HUB_OFFLINE') ?? ''),
    ...(token === '' ? {} : { token }),
  };
}

const expand = (location: string): string => path.resolve(location.replace(/^~(?=\/|$)/, homedir()));
