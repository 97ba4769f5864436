// Run-length encoded masks as COCO has them: lengths of runs of zeros and ones by turns, column by column, zeros first. As a list of numbers, or as text
// with 5 bits per character.
import type { Size } from '../read-image.js';
import type { Box } from './geometry.js';

/** @param inside 1 inside, [height * width], row-major */
export function runsOf(inside: Uint8Array, { width, height }: Size): number[] {
  const runs: number[] = [];
  let [value, length] = [0, 0];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (inside[y * width + x] === value) {
        length += 1;
        continue;
      }
      runs.push(length);
      value = 1 - value;
      length = 1;
    }
  }
  return [...runs, length];
}

/** Whether runs are lengths that add up to the size. */
export function runsFit(runs: readonly number[], { width, height }: Size): boolean {
  const isLength = (run: number): boolean => Number.isInteger(run) && run >= 0;
  return runs.every(isLength) && runs.reduce((sum, run) => sum + run, 0) === width * height;
}

/** The mask of runs that fit the size, row-major. */
export function maskOfRuns(runs: readonly number[], { width, height }: Size): Uint8Array {
  const inside = new Uint8Array(width * height);
  let at = 0;
  for (const [i, length] of runs.entries()) {
    if (i % 2 === 1) for (let j = at; j < at + length; j++) inside[(j % height) * width + Math.floor(j / height)] = 1;
    at += length;
  }
  return inside;
}

/** Runs as COCO's text: each number but the first three as its difference to the one before the last, least significant bits first. */
export function textOfRuns(runs: readonly number[]): string {
  let text = '';
  for (const [i, run] of runs.entries()) {
    let rest = i > 2 ? run - (runs[i - 2] as number) : run;
    for (let more = true; more;) {
      const bits = rest & 0x1f;
      rest >>= 5;
      more = (bits & 0x10) !== 0 ? rest !== -1 : rest !== 0;
      text += String.fromCharCode(48 + bits + (more ? 0x20 : 0));
    }
  }
  return text;
}

/** The runs of COCO's text; undefined for text of other characters. */
export function runsOfText(text: string): number[] | undefined {
  const runs: number[] = [];
  let [value, shift] = [0, 0];
  for (let i = 0; i < text.length; i++) {
    const bits = text.charCodeAt(i) - 48;
    if (bits < 0 || bits > 0x3f || shift > 30) return undefined;
    value |= (bits & 0x1f) << shift;
    shift += 5;
    if ((bits & 0x20) !== 0) continue;
    if ((bits & 0x10) !== 0 && shift < 32) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + (runs[runs.length - 2] as number) : value);
    [value, shift] = [0, 0];
  }
  return shift === 0 ? runs : undefined;
}

/** The smallest box around the pixels that are inside; undefined if there are none. */
export function boundsOf(inside: Uint8Array, { width, height }: Size): Box | undefined {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside[y * width + x]) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = y + 1;
    }
  }
  return right > left ? { x: left, y: top, width: right - left, height: bottom - top } : undefined;
}
