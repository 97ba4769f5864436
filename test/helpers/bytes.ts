// What a run's results are, as hashes by file: everything but the manifest (which has a date and paths), locks, and the minute in which a page says that
// its run was started, and what a mining keeps of those before it.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

const contentOf = (path: string): Buffer | string =>
  path.endsWith('.html')
    ? readFileSync(path, 'utf8').replace(/\d{4}-\d\d-\d\d \d\d:\d\d UTC/g, 'MINUTE')
    : readFileSync(path);

const KEPT = /mine\/earlier\.(parquet|safetensors)$/;

/** { 'shards/00000/patches.parquet': sha256, ... } */
export function resultBytes(
  run: string,
  parts: string[] = ['shards', 'mine', 'skipped.jsonl'],
): Record<string, string> {
  const found: Record<string, string> = {};
  const walk = (path: string): void => {
    if (KEPT.test(path)) return;
    if (statSync(path).isDirectory()) for (const name of readdirSync(path).sort()) walk(join(path, name));
    else found[relative(run, path)] = createHash('sha256').update(contentOf(path)).digest('hex');
  };
  for (const part of parts) walk(join(run, part));
  return found;
}
