// Reads labels from tables.
import { SEPARATOR } from './labels.js';

const LABEL = 'A label is a string, a number, true or false, or a list of these for several labels.';

/** A label as JSON has it: a list means several, 'A|B'. */
export function listedLabel(value: unknown): { label: string } | { problem: string; hint: string } {
  if (!Array.isArray(value)) return oneLabel(value);
  const labels: string[] = [];
  for (const item of value as unknown[]) {
    const one = oneLabel(item);
    if ('problem' in one) return { problem: `is a list with an item that ${one.problem}`, hint: one.hint };
    const label = one.label.trim();
    if (label === '') return { problem: 'is a list with an empty label', hint: LABEL };
    if (label.includes(SEPARATOR))
      return {
        problem: `is a list with ${JSON.stringify(label)}: '${SEPARATOR}' separates labels`,
        hint: `Write each label as an item of its own, or without '${SEPARATOR}'.`,
      };
    if (!labels.includes(label)) labels.push(label);
  }
  return { label: labels.join(SEPARATOR) };
}

function oneLabel(value: unknown): { label: string } | { problem: string; hint: string } {
  if (typeof value === 'string') return { label: value };
  if (typeof value === 'boolean') return { label: String(value) };
  // beyond 2^53 neighboring numbers become one
  if (typeof value === 'number') {
    if (!Number.isFinite(value))
      return { problem: `is ${value}`, hint: 'Every image needs a label; leave out rows without one.' };
    return Number.isInteger(value) && !Number.isSafeInteger(value)
      ? { problem: `is ${value}, too large to be exact`, hint: 'Write it as a string.' }
      : { label: String(value) };
  }
  return { problem: `is ${value === undefined ? 'nothing' : JSON.stringify(value)}`, hint: LABEL };
}

/** The character that keeps a label from being written to files and prompts, if any. */
export function labelProblem(label: string): string | undefined {
  if (label.includes('\0')) return 'a NUL character';
  return /\p{Surrogate}/u.test(label) ? 'half of a surrogate pair' : undefined;
}

/** A plain value as text, a list of labels as A|B; undefined for anything else, and for NaN, which stands for no value in Python's tables. */
export function cellText(value: unknown): string | undefined {
  if (Number.isNaN(value)) return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (value instanceof Date) return value.toISOString();
  if (!Array.isArray(value)) return undefined;
  const parts = value.map(cellText);
  return parts.length > 0 && parts.every((part) => part !== undefined && !part.includes(SEPARATOR))
    ? parts.join(SEPARATOR)
    : undefined;
}
