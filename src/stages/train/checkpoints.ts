// Checkpoints: checkpoints/step-NNNNNNNN.safetensors. The last few and the best are kept.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { discard, removeLeftovers } from '../../runs/atomic.js';
import { makeFolder } from '../../util/paths.js';

const NAME = /^step-(\d{8,})\.safetensors$/;

export class Checkpoints {
  private constructor(
    private readonly folder: string,
    private readonly keep: number,
    private readonly found: Set<number>,
  ) {}

  static async open(folder: string, keep: number): Promise<Checkpoints> {
    await makeFolder(folder);
    const names = await readdir(folder);
    const steps = names.flatMap((name) => (NAME.exec(name)?.[1] === undefined ? [] : [Number(NAME.exec(name)?.[1])]));
    for (const step of steps) await removeLeftovers(join(folder, fileName(step)));
    for (const name of names) if (/^\..*\.tmp-|\.tmp/.test(name)) await discard(join(folder, name));
    return new Checkpoints(folder, keep, new Set(steps));
  }

  /** Steps of the existing checkpoints, ascending. */
  get steps(): number[] {
    return [...this.found].sort((a, b) => a - b);
  }

  file(step: number): string {
    return join(this.folder, fileName(step));
  }

  /** Writes the checkpoint of `step` with `save`, then removes older ones, except that of step `best`. */
  async add(step: number, best: number | undefined, save: (file: string) => Promise<void>): Promise<void> {
    await save(this.file(step));
    this.found.add(step);
    const kept = new Set([...this.steps.slice(-this.keep), ...(best === undefined ? [] : [best])]);
    for (const old of this.steps) if (!kept.has(old)) await this.remove(old);
  }

  async remove(step: number): Promise<void> {
    await discard(this.file(step));
    this.found.delete(step);
  }
}

const fileName = (step: number): string => `step-${String(step).padStart(8, '0')}.safetensors`;
