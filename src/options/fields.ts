// Types of option values. A field accepts the value itself, as in the API, and its text form from the command line and configuration files:
// '50', '0.1,0.7', '5%', '3/8'.
import { z } from 'zod';
import type { Kind } from './option.js';

/** `prepare` converts text to the value that `schema` checks, and returns other input unchanged. */
function field<Out, In = Out>(prepare: (raw: unknown) => unknown, schema: z.ZodType, kind: Kind): z.ZodType<Out, In> {
  return z.preprocess(prepare, schema).meta({ ...kind }) as unknown as z.ZodType<Out, In>;
}

const same = (raw: unknown): unknown => raw;
const textOf = (raw: unknown): unknown => (typeof raw === 'number' ? String(raw) : raw);
const numberOf = (raw: unknown): unknown => (typeof raw === 'string' && raw.trim() !== '' ? Number(raw) : raw);
const wholeOf = (raw: unknown): unknown =>
  typeof raw === 'string' && /^[+-]?\d+$/.test(raw.trim()) ? Number(raw) : raw;
const listOf = (raw: unknown): unknown[] => (Array.isArray(raw) ? (raw as unknown[]) : [raw]);
const kindOf = (of: z.ZodType): Kind => of.meta() as unknown as Kind;

export const text = (): z.ZodType<string, string> => field(textOf, z.string(), { expected: 'text' });

export const path = (): z.ZodType<string, string> =>
  field(textOf, z.string().regex(/^[^\0]+$/), { expected: 'a path' });

/** Paths, which may hold commas: one for each time the option is given. */
export const paths = (): z.ZodType<string[], readonly string[]> =>
  field(listOf, z.array(path()).min(1), { expected: 'paths', list: true });

export const flag = (): z.ZodType<boolean, boolean> =>
  field(same, z.boolean(), { expected: 'true or false', flag: true });

/** How a scan races: not at all, by its risk, or by halves. '' is what --race without a value is. */
export const race = (): z.ZodType<boolean | 'half', boolean | 'half'> =>
  field((raw) => (raw === '' ? true : raw), z.union([z.boolean(), z.literal('half')]), {
    expected: 'no value (true in TypeScript and YAML), or half',
    bare: 'half',
  });

/** A whole number from `min` to `max`. */
export function whole(min: number, max = Number.MAX_SAFE_INTEGER): z.ZodType<number, number> {
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`;
  return field(wholeOf, z.int().min(min).max(max), { expected });
}

export const odd = (min: number, max: number): z.ZodType<number, number> =>
  field(
    wholeOf,
    z
      .int()
      .min(min)
      .max(max)
      .refine((value) => value % 2 === 1),
    {
      expected: `an odd number from ${min} to ${max}`,
    },
  );

export const aboveZero = (): z.ZodType<number, number> =>
  field(numberOf, z.number().positive(), { expected: 'a number above 0' });

export const atLeastZero = (): z.ZodType<number, number> =>
  field(numberOf, z.number().min(0), { expected: 'a number of at least 0' });

/** 0 <= value <= 1. */
export const upToOne = (): z.ZodType<number, number> =>
  field(numberOf, z.number().min(0).max(1), { expected: 'a number from 0 to 1' });

/** 0 <= value < 1. */
export const belowOne = (): z.ZodType<number, number> =>
  field(numberOf, z.number().min(0).lt(1), { expected: 'a number from 0 to below 1' });

/** '5%' or 0.05: from 0 to below 1. */
export const portion = (): z.ZodType<number, number> =>
  field(
    (raw) => {
      const percent = typeof raw === 'string' ? /^\s*([\d.]+)\s*%\s*$/.exec(raw) : null;
      return percent ? Number(percent[1]) / 100 : numberOf(raw);
    },
    z.number().min(0).lt(1),
    { expected: 'a fraction such as 5% or 0.05' },
  );

export function oneOf<const T extends string>(choices: readonly T[]): z.ZodType<T, T> {
  return field(same, z.enum(choices as [T, ...T[]]), { expected: `one of ${choices.join(', ')}`, choices });
}

/** One of a few whole numbers. */
export function numbered<const T extends number>(choices: readonly T[]): z.ZodType<T, T> {
  return field(wholeOf, z.literal([...choices]), {
    expected: `one of ${choices.join(', ')}`,
    choices: choices.map(String),
  });
}

export function wordOr<const W extends string, Out, In>(
  word: W,
  other: z.ZodType<Out, In>,
): z.ZodType<Out | W, In | W> {
  return field(same, z.union([z.literal(word), other]), { expected: `${kindOf(other).expected}, or ${word}` });
}

/** What either field takes; the first that fits. */
export function either<A, B, InA, InB>(one: z.ZodType<A, InA>, other: z.ZodType<B, InB>): z.ZodType<A | B, InA | InB> {
  return field(same, z.union([one, other]), { expected: `${kindOf(one).expected}, or ${kindOf(other).expected}` });
}

/** Labels by name. They may hold commas: where the labels are known, any other value is split (data/labels.ts, namedLabels). */
export const labels = (): z.ZodType<string[], readonly string[]> =>
  field(listOf, z.array(text()), { expected: 'labels', list: true });

/** `own` or `all` alone, or labels. */
export const ownAllOrLabels = (): z.ZodType<'own' | 'all' | string[], 'own' | 'all' | readonly string[]> =>
  field(
    (raw) => {
      const names = listOf(raw);
      return names.length === 1 && (names[0] === 'own' || names[0] === 'all') ? names[0] : names;
    },
    z.union([z.enum(['own', 'all']), z.array(text().refine((label) => label.trim() !== '')).min(1)]),
    { expected: 'own, all, or labels', list: true },
  );

/** Values that hold no commas themselves: they may be given with commas between, too. */
export function list<Out, In>(item: z.ZodType<Out, In>, named?: string): z.ZodType<Out[], readonly In[]> {
  const { expected, choices } = kindOf(item);
  return field(
    (raw) =>
      listOf(raw).flatMap((one): unknown[] =>
        typeof one === 'string' ? one.split(',').map((part) => part.trim()) : [one],
      ),
    z.array(item).min(1),
    { expected: named ?? expected, list: true, ...(choices ? { choices } : {}) },
  );
}

/** Texts that may hold commas. */
export const texts = (expected: string): z.ZodType<string[], readonly string[]> =>
  field(listOf, z.array(text()).min(1), { expected, list: true });

/** A name that Kubernetes takes, short enough for a suffix. */
export const dnsLabel = (): z.ZodType<string, string> =>
  field(same, z.string().regex(/^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/), {
    expected: 'at most 40 lower-case letters, digits and hyphens, beginning with a letter',
  });

/** '4:00:00' or '2-00:00:00', in seconds. */
export const duration = (): z.ZodType<number, number | string> =>
  field(
    (raw) => {
      const found = typeof raw === 'string' ? /^(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)$/.exec(raw) : null;
      if (!found) return raw;
      const [days, hours, minutes, seconds] = found.slice(1).map((one: string | undefined) => Number(one ?? 0));
      return (((days ?? 0) * 24 + (hours ?? 0)) * 60 + (minutes ?? 0)) * 60 + (seconds ?? 0);
    },
    z.int().min(60),
    { expected: 'hours:minutes:seconds of at least a minute, such as 4:00:00, with days 2-00:00:00' },
  );

/** '1920:2000:10' or 'q4'. */
export const bin = (): z.ZodType<string, string> =>
  field(
    textOf,
    z.string().refine((text) => {
      const quantiles = /^q(\d+)$/.exec(text)?.[1];
      if (quantiles !== undefined) return Number(quantiles) >= 2 && Number(quantiles) <= 1000;
      const [start = NaN, stop = NaN, step = NaN, more] = text
        .split(':')
        .map((part) => (part.trim() === '' ? NaN : Number(part)));
      return more === undefined && start < stop && step > 0 && (stop - start) / step <= 100_000;
    }),
    { expected: 'START:STOP:STEP such as 1920:2000:10, or q2 to q1000 for quantiles' },
  );

/** The URL of a queue; '' is what --queue without a value is: that of DIFFMINE_QUEUE. */
export const queue = (): z.ZodType<string, string> =>
  field((raw) => (raw === true ? '' : raw), z.string().regex(/^$|^(rediss?|postgres(ql)?):\/\/./), {
    expected: 'a URL such as redis://host:6379 or postgres://host/database, or no value for that of DIFFMINE_QUEUE',
    bare: 'URL',
  });

export const encoding = (): z.ZodType<string, string> =>
  field(textOf, z.string().refine(isEncoding), {
    expected: 'the name of an encoding such as windows-1252, shift_jis or gbk',
  });

function isEncoding(name: string): boolean {
  try {
    return new TextDecoder(name).encoding !== '';
  } catch {
    return false;
  }
}

export const device = (): z.ZodType<string, string> =>
  field(same, z.string().regex(/^(auto|cpu|cuda(:\d+)?)$/), { expected: 'auto, cpu, cuda or cuda:N' });

/** '0,1' is cuda:0 and cuda:1; 'cpu,cpu', or a list. */
export const devices = (): z.ZodType<string[], readonly string[]> =>
  list<string, string>(
    field(
      (raw) => {
        const name = textOf(raw);
        return typeof name === 'string' && /^\d+$/.test(name) ? `cuda:${name}` : raw;
      },
      z.string().regex(/^(cpu|cuda:\d+)$/),
      { expected: 'devices with commas such as 0,1 (for cuda:0,cuda:1) or cpu,cpu' },
    ),
  );

export const variant = (): z.ZodType<string, string> =>
  field(textOf, z.string().regex(/^[\w-]+$/), {
    expected: 'a name such as fp16 or non_ema, the part of the file names before .safetensors',
  });

export type Range = readonly [number, number];

/** '0.1,0.7' or [0.1, 0.7]: fractions of the schedule, 0 <= begin < end <= 1. */
export const range = (): z.ZodType<Range, Range> =>
  field(
    (raw) => (typeof raw === 'string' ? raw.split(',') : Array.isArray(raw) ? (raw as unknown[]) : []).map(numberOf),
    z.tuple([z.number().min(0), z.number().max(1)]).refine(([begin, end]) => begin < end),
    { expected: 'two fractions of the schedule such as 0.1,0.7, the first below the second' },
  );

/**
 * '3/8' or { index: 3, count: 8 }: part 3 of 8, counted from 0 as Slurm and Kubernetes count their tasks. 'auto' or 'auto/8': found from the
 * environment (pipeline/task-number.ts).
 */
export const part = (): z.ZodType<Part | AutoPart, Part | AutoPart> =>
  field(
    (raw) => {
      const found = typeof raw === 'string' ? /^(\d+)\/(\d+)$/.exec(raw) : null;
      return found ? { index: Number(found[1]), count: Number(found[2]) } : raw;
    },
    z.union([
      z.object({ index: z.int().min(0), count: z.int() }).refine(({ index, count }) => index < count),
      z.string().regex(/^auto(\/[1-9]\d{0,5})?$/),
    ]),
    { expected: 'i/n with 0 <= i < n, such as 0/8 for the first of eight, or auto, or auto/n' },
  );

/** Part `index` of `count`, from 0. */
export interface Part {
  index: number;
  count: number;
}

/** The part of this task of a job array, with the number of parts if the scheduler does not say it. */
export type AutoPart = 'auto' | `auto/${number}`;
