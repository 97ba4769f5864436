// Reading a model's JSON files, with errors that name file and key.
import { readFile } from 'node:fs/promises';
import { DiffmineError } from '../util/errors.js';
import { decodeJson, formatJson, parseJson } from '../util/json.js';

export type JsonObject = Record<string, unknown>;

/** @throws MODEL_INVALID if the file is absent, not JSON as Python writes it, or no object */
export async function readJsonObject(file: string): Promise<JsonObject> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    const { code, message } = cause as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'is missing' : `cannot be read (${code ?? message})`;
    throw new DiffmineError('MODEL_INVALID', `'${file}' ${what}.`, 'Give a complete diffusers model folder.', {
      cause,
    });
  });
  let value: unknown;
  try {
    value = parseJson(decodeJson(bytes));
  } catch (cause) {
    const isPointer = bytes.toString('latin1', 0, 64).startsWith('version https://git-lfs');
    throw new DiffmineError(
      'MODEL_INVALID',
      isPointer ? `'${file}' is a Git LFS pointer, not JSON.` : `'${file}' is not JSON: ${(cause as Error).message}.`,
      isPointer ? 'Run `git lfs pull` in the model folder.' : undefined,
      { cause },
    );
  }
  if (!isObject(value)) throw new DiffmineError('MODEL_INVALID', `'${file}' is not a JSON object.`);
  return value;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The beginning of a value that is too long for a message, such as a list of a thousand numbers. */
const cut = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text);

/** Typed access to one configuration file. A key that is absent takes its default; without a default it is required. */
export class ConfigReader {
  constructor(
    readonly file: string,
    private readonly values: JsonObject,
  ) {}

  get(key: string): unknown {
    return this.values[key];
  }

  /** The value is set: present and not null. */
  has(key: string): boolean {
    return this.values[key] !== undefined && this.values[key] !== null;
  }

  integer(key: string, fallback?: number): number {
    return this.read(
      key,
      fallback,
      (value): value is number => Number.isSafeInteger(value) && (value as number) >= 0,
      'a whole number',
    );
  }

  /** a whole number above zero */
  count(key: string, fallback?: number): number {
    return this.read(key, fallback, isCount, 'a whole number above 0');
  }

  number(key: string, fallback?: number): number {
    return this.read(
      key,
      fallback,
      (value): value is number => typeof value === 'number' && Number.isFinite(value),
      'a finite number',
    );
  }

  boolean(key: string, fallback?: boolean): boolean {
    return this.read(key, fallback, (value): value is boolean => typeof value === 'boolean', 'true or false');
  }

  counts(key: string, fallback?: number[]): number[] {
    return this.read(
      key,
      fallback,
      (value): value is number[] => Array.isArray(value) && value.length > 0 && value.every(isCount),
      'a list of whole numbers above 0',
    );
  }

  integers(key: string, fallback?: number[]): number[] {
    return this.read(
      key,
      fallback,
      (value): value is number[] =>
        Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0),
      'a list of whole numbers',
    );
  }

  /** Strings, each of which must be among `supported`. */
  strings(key: string, supported: readonly string[]): string[] {
    const list = this.read(
      key,
      undefined,
      (value): value is string[] =>
        Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string'),
      'a list of names',
    );
    for (const item of list) if (!supported.includes(item)) throw this.unsupported(key, item, supported.join(', '));
    return list;
  }

  /** One of `supported`; anything else is MODEL_UNSUPPORTED. */
  choice<T extends string>(key: string, supported: readonly T[], fallback?: T): T {
    const value = this.values[key] ?? fallback;
    if (value === undefined) throw this.missing(key);
    if (!supported.includes(value as T)) throw this.unsupported(key, value, supported.join(', '));
    return value as T;
  }

  /** One whole number above zero for each of `length` blocks, given once or as a list. */
  perBlock(key: string, length: number, fallback: number): number[] {
    const value = this.values[key] ?? fallback;
    if (isCount(value)) return new Array<number>(length).fill(value);
    if (Array.isArray(value) && value.every(isCount)) {
      if (value.length !== length) throw this.invalid(`'${key}' has ${value.length} entries for ${length} blocks`);
      return value;
    }
    throw this.unsupported(key, value, 'a whole number above 0, or one for each block');
  }

  /** One whole number above zero; a list is accepted where all its entries are the same. */
  uniform(key: string, fallback?: number): number {
    const value = this.values[key];
    if (!Array.isArray(value)) return this.count(key, fallback);
    if (value.length > 0 && value.every((item) => isCount(item) && item === value[0])) return value[0] as number;
    throw this.unsupported(key, value, 'the same number for every block');
  }

  /** Options that change the computation and that diffmine computes in one way only: absent, null, or one of the values listed. */
  only(supported: Record<string, readonly unknown[]>): void {
    for (const [key, values] of Object.entries(supported)) {
      if (this.has(key) && !values.includes(this.values[key]))
        throw this.unsupported(
          key,
          this.values[key],
          values.length > 0 ? values.map((value) => formatJson(value)).join(', ') : 'null',
        );
    }
  }

  missing(key: string): DiffmineError {
    return this.invalid(`the key '${key}' is missing`);
  }

  invalid(what: string): DiffmineError {
    return new DiffmineError('MODEL_INVALID', `'${this.file}': ${what}.`);
  }

  unsupported(key: string, value: unknown, supported: string): DiffmineError {
    return new DiffmineError(
      'MODEL_UNSUPPORTED',
      `'${this.file}': ${key} = ${cut(formatJson(value))} is not supported.`,
      `Supported: ${supported}.`,
    );
  }

  private read<T>(key: string, fallback: T | undefined, fits: (value: unknown) => value is T, expected: string): T {
    const value = this.values[key] ?? fallback;
    if (value === undefined) throw this.missing(key);
    if (!fits(value)) throw this.invalid(`'${key}' is ${cut(formatJson(value))} instead of ${expected}`);
    return value;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}
