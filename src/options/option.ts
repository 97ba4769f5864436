// An option: a zod field, with its description for help texts, messages and the reference. A stage's options are one schema of these, with the names
// of the API as keys; names on the command line and in configuration files are derived from the keys.
import { z } from 'zod';

/** Of options, in the order in which help texts have them. */
export const GROUPS = [
  'Input',
  'Dataset',
  'Estimate',
  'Prompts',
  'Images',
  'Scoring',
  'Sampling',
  'Mining',
  'Training',
  'Comparison',
  'Set-up',
  'Cluster',
  'Run directory',
  'Output',
  'Device',
  'Every command',
] as const;
export type Group = (typeof GROUPS)[number];

/** Properties of a type of values (fields.ts). */
export interface Kind {
  /** completes "expected ..." */
  expected: string;
  choices?: readonly string[];
  /** takes an array, too: the option may be given several times */
  list?: true;
  /** true or false: takes no value on the command line */
  flag?: true;
  /** may be given without a value, which is then ''; the word for the value it may have */
  bare?: string;
}

/** Description of an option. Other options are named by their keys in backticks; each surface renders them with its own names. */
export interface About {
  group: Group;
  description: string;
  /** the default in words, if it depends on other values and the schema has none */
  shown?: string;
  alias?: string;
  /** description of the flag --no-NAME, for a flag that is on by default */
  negated?: string;
}

export type Shape = Readonly<Record<string, z.ZodType>>;
export type Schema<S extends Shape = Shape> = z.ZodObject<S>;

/** Adds a description to a field. */
export function option<Field extends z.ZodType>(field: Field, about: About): Field {
  return field.meta({ ...about });
}

/** An option of another command that applies only in a context: 'With `evaluate`: '. */
export function inContext<Field extends z.ZodType>(field: Field, context: string): Field {
  const about = field.meta() as unknown as About;
  const description = context + about.description.charAt(0).toLowerCase() + about.description.slice(1);
  return option(field, { ...about, description });
}

/** The options of a stage or tool; others are refused by name. */
export function optionsOf<const S extends Shape>(title: string, shape: S): z.ZodObject<S, z.core.$strict> {
  return z.strictObject(shape).meta({ title });
}

/** An option for surfaces that list it. */
export interface Described extends About, Kind {
  key: string;
  /** on the command line without dashes, and in configuration files */
  name: string;
  required: boolean;
  /** the default in words; undefined where there is none to speak of */
  fallback: string | undefined;
  /** without default: what a value that was given is checked with */
  field: z.ZodType;
}

/** An option's name on the command line. */
export const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** A field without its default; whether it must be given, and the default. */
function unwrapped(field: z.ZodType): { field: z.ZodType; required: boolean; value?: unknown } {
  if (field instanceof z.ZodDefault)
    return { field: field.def.innerType as z.ZodType, required: false, value: field.def.defaultValue };
  if (field instanceof z.ZodOptional) return { field: field.def.innerType as z.ZodType, required: false };
  return { field, required: true };
}

/** A default as people write it. */
function shownDefault(value: unknown): string | undefined {
  if (value === undefined || typeof value === 'boolean') return undefined;
  if (Array.isArray(value)) return value.join(',');
  return typeof value === 'string' && /^[\w.:/-]+$/.test(value) ? value : JSON.stringify(value);
}

const described = new WeakMap<z.ZodType, Described>();

export function describe(key: string, whole: z.ZodType): Described {
  const known = described.get(whole);
  if (known?.key === key) return known;
  const { field, required, value } = unwrapped(whole);
  const kind = field.meta() as unknown as Kind;
  const about = (whole.meta() ?? kind) as unknown as About; // partial() wraps a field without a word
  const one: Described = {
    ...kind,
    ...about,
    key,
    name: about.negated === undefined ? kebab(key) : `no-${kebab(key)}`,
    required,
    fallback: about.shown ?? shownDefault(value),
    field,
  };
  described.set(whole, one);
  return one;
}

/** The options of a schema, in its order. */
export function describeAll(schema: Schema): Described[] {
  return Object.entries(schema.shape).map(([key, field]) => describe(key, field));
}

/** The defaults of a schema. */
export function defaultsOf<S extends Schema>(schema: S): Defaults<S> {
  return Object.fromEntries(
    Object.entries(schema.shape).flatMap(([key, field]) => {
      const { value } = unwrapped(field);
      return value === undefined ? [] : [[key, value]];
    }),
  ) as Defaults<S>;
}

/** The options that have a default. */
export type Defaults<S extends Schema> = {
  [Key in keyof S['shape'] as S['shape'][Key] extends z.ZodDefault ? Key : never]: z.output<S['shape'][Key]>;
};
