// Checks values against a schema. A wrong value is an INVALID_ARGUMENT that carries the option's key. Messages name options in backticks, as in the API;
// the command line renders them as flags (src/cli/options.ts).
import type { z } from 'zod';
import { DiffmineError } from '../util/errors.js';
import { guesses, nearest } from '../util/nearest.js';
import { describe, type Schema } from './option.js';

/** The given options of a schema, checked; without defaults. */
export type Given<S extends Schema> = z.output<z.ZodObject<{ [Key in keyof S['shape']]: Bare<S['shape'][Key]> }>>;
type Bare<Field> = Field extends z.ZodDefault<infer Inner extends z.ZodType> ? z.ZodOptional<Inner> : Field;

/** Formats a value for a message. YAML aliases can create a value that contains itself. */
function shown(raw: unknown): string {
  if (typeof raw === 'number') return String(raw);
  try {
    // JSON has none of these, though the type of stringify says so
    const none = raw === undefined || typeof raw === 'function' || typeof raw === 'symbol';
    return none ? String(raw) : JSON.stringify(raw);
  } catch {
    return 'a value that contains itself';
  }
}

/** @throws INVALID_ARGUMENT for an option that the schema does not know */
function refuseUnknown(schema: Schema, options: object): void {
  const unknown = Object.keys(options).find((key) => !Object.hasOwn(schema.shape, key));
  if (unknown === undefined) return;
  const meant = guesses(unknown, Object.keys(schema.shape)).map((name) => `\`${name}\``);
  throw new DiffmineError(
    'INVALID_ARGUMENT',
    `${schema.meta()?.title ?? 'This'} has no option \`${unknown}\`.`,
    meant.length > 0 ? `Did you mean ${meant.join(' or ')}?` : undefined,
    { option: unknown },
  );
}

/** Says which word an option took that needs no value: in `scan --race photos` the dataset. */
export function taken(schema: Schema, options: object): string | undefined {
  for (const [key, whole] of Object.entries(schema.shape)) {
    const { bare, field } = describe(key, whole);
    const raw = (options as Record<string, unknown>)[key];
    if (bare !== undefined && typeof raw === 'string' && !field.safeParse(raw).success)
      return `${shown(raw)} was read as the value of \`${key}\`: put it before that option`;
  }
  return undefined;
}

/**
 * Checks the options that are given. Those that are undefined or null count as not given.
 *
 * @throws INVALID_ARGUMENT for an unknown option, a missing one or a wrong value
 */
export function given<S extends Schema>(schema: S, options: object): Given<S> {
  refuseUnknown(schema, options);
  const values: Record<string, unknown> = {};
  for (const [key, whole] of Object.entries(schema.shape)) {
    const { field, required, description, expected, choices } = describe(key, whole);
    const raw = (options as Record<string, unknown>)[key];
    if (raw === undefined || raw === null) {
      if (!required) continue;
      throw new DiffmineError('INVALID_ARGUMENT', `\`${key}\` is missing.`, `${description}.`, { option: key });
    }
    const parsed = field.safeParse(raw);
    if (!parsed.success) {
      const guess = choices && typeof raw === 'string' ? nearest(raw, choices, 3) : undefined;
      throw new DiffmineError(
        'INVALID_ARGUMENT',
        `\`${key}\` is ${shown(raw)}; expected ${expected}.`,
        guess ? `Did you mean ${guess}?` : undefined,
        { option: key },
      );
    }
    values[key] = parsed.data;
  }
  return values as Given<S>;
}

/**
 * Checks options and fills in the defaults: those of `before` (a preset, say), then the schema's.
 *
 * @throws INVALID_ARGUMENT as `given`
 */
export function resolved<S extends Schema>(schema: S, options: object, before: Partial<z.input<S>> = {}): z.output<S> {
  return schema.parse({ ...partOf(schema, before), ...given(schema, options) });
}

/** Those of `values` that are in `schema`: for commands that pass values to several stages. */
export function partOf<S extends Schema>(schema: S, values: object): Partial<Given<S>> {
  return Object.fromEntries(
    Object.entries(values).filter(([key, value]) => value !== undefined && Object.hasOwn(schema.shape, key)),
  ) as Partial<Given<S>>;
}
