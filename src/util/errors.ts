// The one error class of the package: a code, a sentence, a hint. Exit codes follow from the code.
import { hintForDisk, unwritable } from './disk.js';

/** Every code an error of diffmine can have, with the process's exit code. Documented in docs/reference/errors.md. */
export const EXIT_CODES = {
  /** A check did not pass: `verify` found a difference, `bench --compare` a regression. */
  CHECK_FAILED: 1,
  /** An option or argument is wrong or missing. */
  INVALID_ARGUMENT: 2,
  /** The dataset cannot be used: no such folder, no labels, missing columns, text that is not UTF-8, rows without a file. */
  DATASET_INVALID: 3,
  /** A model folder lacks something, or has tensors that do not fit its config. */
  MODEL_INVALID: 3,
  /** A model asks for something diffmine does not do. */
  MODEL_UNSUPPORTED: 3,
  /** A weights file is damaged, or holds NaN. */
  WEIGHTS_INVALID: 3,
  /** No image could be read, or an image is none. Inside a scan: skipped and listed. */
  IMAGE_UNREADABLE: 3,
  /** A run directory is damaged or not a run. */
  RUN_INVALID: 3,
  /** LibTorch or the addon is absent, of a wrong version, or cannot be loaded. */
  SETUP: 4,
  /** The device asked for is not there, or cannot do the precision; or its process dies again and again. */
  DEVICE_UNAVAILABLE: 4,
  OUT_OF_MEMORY: 4,
  /** Reading or writing failed: permissions, a full disk, a stdout that cannot be written. */
  IO: 5,
  /** The run directory belongs to a run with other options, model or data. */
  RUN_MISMATCH: 6,
  /** NaN or infinity in results. */
  NUMERICS: 7,
  /** A bug in diffmine. */
  INTERNAL: 70,
  /** Ctrl-C, SIGTERM or an AbortSignal; a run can be resumed. */
  CANCELLED: 130,
} as const;

export type ErrorCode = keyof typeof EXIT_CODES;

/** An error that was foreseen: a code, a message, and often a hint. */
export class DiffmineError extends Error {
  override readonly name = 'DiffmineError';
  /** the option that is wrong, by its name in the API */
  readonly option?: string;
  /** what is wrong with the image that the message names, for texts that name it themselves */
  readonly reason?: string;

  /**
   * @param code what kind of error
   * @param message one sentence: what was wrong, and where. Options are named as in the API, in backticks; the command line renders them as flags
   * @param hint what to do about it
   */
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly hint?: string,
    options: { cause?: unknown; option?: string; reason?: string } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    if (options.option !== undefined) this.option = options.option;
    if (options.reason !== undefined) this.reason = options.reason;
  }

  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}

/** What is wrong, as a sentence says it of the image that it names: 'cannot be read: the file is empty.' */
export const reasonAlone = (error: DiffmineError): string => error.reason ?? `cannot be used: ${error.message}`;

/** 'skipped a.png, which cannot be read: the file is empty.' */
export const because = (what: string, image: string, reason: string): string => `${what} ${image}, which ${reason}`;

const FILES = {
  what: 'too many files are open',
  hint: 'Raise the limit, such as ulimit -n 4096, and run the same command again.',
};
const PERMISSION = {
  what: 'permission denied',
  hint: 'Check the permissions of the file and of the folders above it.',
};
/** What a system's error means for a path, and what to do about it. */
const SYSTEM: Partial<Record<string, { what: string; hint: string }>> = {
  EACCES: PERMISSION,
  EPERM: PERMISSION,
  ENOTDIR: { what: 'a part of it is a file, not a folder', hint: 'Give another path, or remove the file.' },
  ENAMETOOLONG: { what: 'it is too long for the file system', hint: 'Give a shorter path.' },
  ELOOP: { what: 'its links form a loop', hint: 'Give the path of the file itself.' },
  EMFILE: FILES,
  ENFILE: FILES,
};

/** Any thrown value as a DiffmineError: native errors keep code and hint, system errors become IO, the rest INTERNAL. */
export function asDiffmineError(thrown: unknown): DiffmineError {
  if (thrown instanceof DiffmineError) return thrown;
  const error = (thrown ?? {}) as {
    code?: unknown;
    message?: unknown;
    hint?: unknown;
    name?: unknown;
    syscall?: unknown;
    path?: unknown;
  };
  const message = typeof error.message === 'string' ? error.message : String(thrown);
  const disk = unwritable(error);
  if (typeof error.code === 'string' && error.code in EXIT_CODES) {
    const own = typeof error.hint === 'string' && error.hint ? error.hint : undefined;
    return new DiffmineError(error.code as ErrorCode, message, disk ? hintForDisk(disk.remedy, message) : own, {
      cause: thrown,
    });
  }
  if (error.name === 'AbortError')
    return new DiffmineError('CANCELLED', 'The work was cancelled.', undefined, { cause: thrown });
  if (disk) {
    const file = typeof error.path === 'string' ? error.path : '';
    return new DiffmineError(
      'IO',
      file === ''
        ? `The disk ${disk.what} (${message.split('\n')[0]}).`
        : `The disk ${disk.what}: ${file} cannot be written.`,
      hintForDisk(disk.remedy, `${file} ${message}`),
      { cause: thrown },
    );
  }
  if (typeof error.code === 'string' && typeof error.syscall === 'string') {
    const { what, hint } = SYSTEM[error.code] ?? {};
    const told =
      what === undefined || typeof error.path !== 'string' ? message : `'${error.path}' cannot be used: ${what}.`;
    return new DiffmineError('IO', told, hint, { cause: thrown });
  }
  return new DiffmineError('INTERNAL', message, undefined, { cause: thrown });
}
