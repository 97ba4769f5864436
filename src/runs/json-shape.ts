// Checks that a value from a JSON file has the expected types.

import type { z } from 'zod';
import { describe } from '../options/option.js';

export type Shape = (value: unknown) => boolean;

/** A value of an option, as a run records it: what the option's own schema takes, and leaves as it is. */
export function valueOf(option: z.ZodType): Shape {
  const { field } = describe('', option);
  return (value) => {
    const parsed = field.safeParse(value);
    return parsed.success && parsed.data === value;
  };
}

export const text: Shape = (value) => typeof value === 'string';
export const flag: Shape = (value) => typeof value === 'boolean';
export const number: Shape = (value) => typeof value === 'number' && Number.isFinite(value);
/** a whole number from `min` on */
export const whole =
  (min: number): Shape =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min;
export const oneOf =
  (...values: readonly unknown[]): Shape =>
  (value) =>
    values.includes(value);
export const either =
  (...shapes: readonly Shape[]): Shape =>
  (value) =>
    shapes.some((shape) => shape(value));
export const nullable = (shape: Shape): Shape => either(oneOf(null), shape);
/** may be absent */
export const optional = (shape: Shape): Shape => either(oneOf(undefined), shape);
export const list =
  (shape: Shape): Shape =>
  (value) =>
    Array.isArray(value) && value.every(shape);
/** an object with these members, and any others */
export const members =
  (shapes: Readonly<Record<string, Shape>>): Shape =>
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.entries(shapes).every(([name, shape]) =>
      shape(Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined),
    );
