// Reading diffmine-golden-1: a manifest.json of cases beside a safetensors file of their inputs and outputs.
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';

import { DiffmineError } from '../../util/errors.js';
import { decodeJson, parseJson } from '../../util/json.js';
import { readSafetensors } from '../../engine/index.js';
import type { Tensor } from '../../engine/types.js';

export const GOLDEN_FORMAT = 'diffmine-golden-1';

/** Passed when |got - ref| <= atol + rtol |ref| everywhere, or when equal. */
export type Tolerance = { exact: true } | { exact?: false; atol: number; rtol: number };

export interface GoldenCase {
  id: string;
  op: string;
  params: Record<string, unknown>;
  /** name -> tensor of the file */
  inputs: Record<string, string>;
  outputs: Record<string, string>;
  tolerance: Tolerance;
}

export class Golden {
  private tensors?: Record<string, Tensor>;

  constructor(
    /** relative to the folder given, forward slashes */
    readonly name: string,
    readonly folder: string,
    private readonly file: string,
    private readonly variant: string | undefined,
    readonly cases: GoldenCase[],
  ) {}

  /** The tensor a case calls by a name of the file. Throws CHECK_FAILED when the file lacks it. */
  tensor(name: string): Tensor {
    const tensors = (this.tensors ??= readSafetensors(join(this.folder, this.file)));
    const found = tensors[name];
    if (!found) throw new DiffmineError('CHECK_FAILED', `${this.file} has no tensor ${name}.`);
    return found;
  }

  /** The model folder a case is about: its own variant or the manifest's, beside the manifest's folder. */
  modelPath(one: GoldenCase): string | undefined {
    const variant = typeof one.params['variant'] === 'string' ? one.params['variant'] : this.variant;
    return variant === undefined ? undefined : join(dirname(this.folder), variant);
  }
}

/** Every manifest of the format at or below `folder`, in order of their paths. Throws INVALID_ARGUMENT when there is none. */
export function findGoldens(folder: string): Golden[] {
  const root = resolve(folder);
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `${folder} is not a folder.`,
      'Give the folder that holds the golden manifests.',
    );
  }
  const goldens: Golden[] = [];
  const visit = (at: string): void => {
    for (const entry of readdirSync(at, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.isDirectory()) visit(join(at, entry.name));
      else if (entry.name === 'manifest.json') goldens.push(...readManifest(root, at));
    }
  };
  visit(root);
  if (goldens.length === 0) {
    throw new DiffmineError(
      'INVALID_ARGUMENT',
      `No ${GOLDEN_FORMAT} manifest lies below ${folder}.`,
      'Give the folder that holds the golden manifests.',
    );
  }
  return goldens;
}

/** The manifest of a folder, or nothing when it is of another format (a run's manifest has the same name). */
function readManifest(root: string, folder: string): Golden[] {
  const name = relative(root, folder).split(sep).join('/') || '.';
  const damaged = (what: string, cause?: unknown): DiffmineError =>
    new DiffmineError('INVALID_ARGUMENT', `${join(folder, 'manifest.json')} ${what}.`, 'Restore the golden folder.', {
      cause,
    });
  let parsed: unknown;
  try {
    parsed = parseJson(decodeJson(readFileSync(join(folder, 'manifest.json'))));
  } catch (error) {
    throw damaged('is not valid JSON', error);
  }
  if (!isRecord(parsed) || parsed['format'] !== GOLDEN_FORMAT) return [];
  const { file, variant, cases } = parsed;
  if (typeof file !== 'string' || file !== file.replace(/[/\\]/g, '') || !Array.isArray(cases))
    throw damaged('has no "file" or no "cases"');
  return [
    new Golden(
      name,
      folder,
      file,
      typeof variant === 'string' ? variant : undefined,
      cases.map((one: unknown, index) => readCase(one, () => damaged(`has a case ${index} that is incomplete`))),
    ),
  ];
}

function readCase(one: unknown, damaged: () => DiffmineError): GoldenCase {
  if (!isRecord(one)) throw damaged();
  const { id, op, params, inputs, outputs, tolerance } = one;
  if (
    typeof id !== 'string' ||
    typeof op !== 'string' ||
    !isRecord(params) ||
    !isNames(inputs) ||
    !isNames(outputs) ||
    !isRecord(tolerance)
  )
    throw damaged();
  if (tolerance['exact'] === true) return { id, op, params, inputs, outputs, tolerance: { exact: true } };
  const { atol, rtol } = tolerance;
  if (typeof atol !== 'number' || typeof rtol !== 'number') throw damaged();
  return { id, op, params, inputs, outputs, tolerance: { atol, rtol } };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNames(value: unknown): value is Record<string, string> {
  return isRecord(value) && Object.values(value).every((name) => typeof name === 'string');
}
