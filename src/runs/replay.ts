// Replay: noises and timesteps from a safetensors file instead of drawn ones, to compare with other implementations (docs/reference/formats/replay.md).
import { count as counted } from '../web/html.js';
import { resolve } from 'node:path';
import { DiffmineError } from '../util/errors.js';
import { readSafetensors, readSafetensorsHeader } from '../engine/index.js';
import type { SafetensorsHeader, Tensor } from '../engine/types.js';

export class Replay {
  private constructor(
    readonly file: string,
    private readonly header: SafetensorsHeader,
  ) {}

  /** @throws WEIGHTS_INVALID for a damaged file, INVALID_ARGUMENT for one without noises or timesteps */
  static open(file: string): Replay {
    const replay = new Replay(resolve(file), readSafetensorsHeader(resolve(file)));
    const names = Object.keys(replay.header.tensors);
    for (const kind of ['noises', 'timesteps']) {
      if (!names.some((name) => name === kind || name.startsWith(`${kind}.`))) {
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `The replay file ${file} has no ${kind}.`,
          'It must have noises.IMAGE and timesteps.IMAGE for each image, or noises and timesteps for all images.',
        );
      }
    }
    return replay;
  }

  /** Whether an image has noises of its own, so that it cannot share an engine call with others. */
  isOwn(path: string): boolean {
    return ['noises', 'timesteps', 'dift_noises'].some((kind) => `${kind}.${path}` in this.header.tensors);
  }

  private name(kind: string, path: string): string | undefined {
    return [`${kind}.${path}`, kind].find((name) => name in this.header.tensors);
  }

  private read(name: string): Tensor {
    return readSafetensors(this.file, [name])[name] as Tensor;
  }

  /** @throws INVALID_ARGUMENT if an image's noises or timesteps are missing, or of another number of samples */
  check(path: string, samples: number): void {
    for (const kind of ['noises', 'timesteps']) {
      const name = this.name(kind, path);
      if (name === undefined) {
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `The replay file ${this.file} has no ${kind} for the image ${path}.`,
          `Expected ${kind}.${path}, or ${kind} for all images.`,
        );
      }
      const count = this.header.tensors[name]?.shape[0];
      if (count !== samples)
        throw new DiffmineError(
          'INVALID_ARGUMENT',
          `${name} of the replay file has ${count === undefined ? 'no samples' : counted(count, 'sample')}, not ${samples}.`,
          `Give \`samples\` ${count}.`,
        );
    }
  }

  /** What scoring an image replays: noises F32 [N, C, h, w], timesteps I64 [N]. */
  scoring(path: string): { noises: Tensor; timesteps: Tensor } {
    return {
      noises: this.read(this.name('noises', path) ?? ''),
      timesteps: this.read(this.name('timesteps', path) ?? ''),
    };
  }

  /** The noises of an image's features, F32 [E, C, h, w]; undefined if the file has none: they are then drawn. */
  features(path: string): Tensor | undefined {
    const name = this.name('dift_noises', path);
    return name === undefined ? undefined : this.read(name);
  }
}
