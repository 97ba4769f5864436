// What the command line prints: results on stdout, everything else on stderr; bars on a terminal, lines elsewhere.
import { significant } from '../web/html.js';
import { Writable } from 'node:stream';

import type { DiffmineError } from '../util/errors.js';
import type { Naming } from './options.js';
import { guardStreams, terminalOf, writeMessage, writeResult } from './streams.js';
import type { Progress } from '../util/hooks.js';

export interface OutputOptions {
  json: boolean;
  quiet: boolean;
  verbose: boolean;
}

const FINISHING = 'finishing';
/** What a stage is called while it runs, what it counts, and what still runs when all is counted. */
const STAGES: Record<string, [title: string, unit: string, then: string]> = {
  download: ['Downloading', 'MB', 'opening the files'],
  copy: ['Copying', 'files', 'opening the files'],
  load: ['Loading', 'tensors', 'preparing the model'],
  read: ['Reading', 'images', FINISHING],
  encode: ['Encoding', 'images', FINISHING],
  score: ['Scoring', 'UNet calls', 'writing the shard'],
  rank: ['Ranking', 'patches', FINISHING],
  patches: ['Selecting', 'shards', 'ranking'],
  compare: ['Comparing', 'images', FINISHING],
  features: ['Features', 'images', 'clustering'],
  trends: ['Trends', 'images', 'clustering'],
  cluster: ['Clustering', 'labels', 'writing the tables'],
  project: ['Projecting', 'labels', 'grouping'],
  report: ['Report', 'images', 'writing the page'],
  crops: ['Cropping', 'images', 'writing the index'],
  verify: ['Verifying', 'cases', FINISHING],
  draw: ['Drawing', 'images', 'writing the images'],
  maps: ['Heat maps', 'maps', 'averaging'],
  prepare: ['Preparing', 'images', 'splitting the images'],
  measure: ['Measuring', 'held-out images', 'writing the report'],
  train: ['Training', 'steps', 'writing the model'],
  sample: ['Sampling', 'steps', 'writing the images'],
  translate: ['Translating', 'UNet calls', 'writing the shard'],
  translation: ['Judging', 'images', 'writing the page'],
  evaluate: ['Evaluating', 'labels', 'writing the figures'],
  color: ['Colors', 'images', 'comparing'],
  resample: ['Resampling', 'times', FINISHING],
};

/** Milliseconds between two plain lines of progress: first, factor, last. A log of a day's work must stay readable. */
const PLAIN_INTERVAL = { first: 5000, factor: 1.5, last: 60_000 };

/** Progress of a stage, with rate (a second) and time left (s) where the stage knows them better than can be seen from here. */
export interface ProgressEvent extends Progress {
  rate?: number;
  secondsLeft?: number;
  /** a word more: 'loss 0.031' */
  note?: string;
  /** what runs now, while nothing is counted: 'saving' */
  doing?: string;
}

/** 75 -> '1 min 15 s'; for times left, rounded as far as one can trust them. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (whole < 600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** The stack of an error, of another realm too; anything else that was thrown as text. */
function stackOf(thrown: unknown): string {
  const isError = thrown instanceof Error || (typeof thrown === 'object' && thrown !== null && 'stack' in thrown);
  return isError ? String(thrown.stack) : String(thrown);
}

const causeOf = (thrown: unknown): unknown =>
  typeof thrown === 'object' && thrown !== null && 'cause' in thrown ? thrown.cause : undefined;

/** Characters of a name in a table: a label can be a whole caption. */
const NAME = 80;
function shortened(name: string): string {
  const characters = Array.from(name);
  return characters.length <= NAME ? name : `${characters.slice(0, NAME - 3).join('')}...`;
}

/** What a terminal shows two columns wide: Chinese, Japanese and Korean characters, and emoji. */
const WIDE =
  /^(?:[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\p{Emoji}\ufe0f)/u;
const CHARACTERS = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** Columns of a terminal that a text takes: a letter and its accents take one. */
function columnsOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let columns = 0;
  for (const { segment } of CHARACTERS.segment(text))
    columns += WIDE.test(segment) ? 2 : /^[\p{M}\p{Cf}]*$/u.test(segment) ? 0 : 1;
  return columns;
}

/** Rows of text with aligned columns, the first of which are names; the named columns flush right. */
export function table(header: string[], all: string[][], right: number[] = []): string {
  const rows = all.map(([first = '', ...others]) => [shortened(first), ...others].map(oneLine));
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => columnsOf(row[column] ?? ''))),
  );
  const line = (cells: string[]): string =>
    cells
      .map((cell, column) => {
        const space = ' '.repeat(Math.max(0, (widths[column] ?? 0) - columnsOf(cell)));
        return right.includes(column) ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd();
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

/**
 * Control characters of a file name or label made visible, so that no text of a dataset can drive the terminal or, by the marks that turn the direction
 * of writing, show another text than it is.
 */
export function printable(value: string): string {
  return value.replace(/[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/gu, escaped);
}

/** A cell of a table: a label may have line breaks. */
const oneLine = (cell: string): string => printable(cell).replace(/[\t\n]/g, escaped);

function escaped(char: string): string {
  const code = char.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
}

interface Running {
  type: string;
  started: number;
  first: number;
  /** when the bar was last drawn; 0 before */
  drawn: number;
}

const BAR_CELLS = 40;
/** Milliseconds between two drawings of the bar. */
const BAR_INTERVAL = 125;
/** Returns the cursor to the start of the line and erases it. */
const ERASE = '\r\x1b[K';

/** `fraction` of a bar of BAR_CELLS. */
function bar(fraction: number): string {
  const full = Math.round(BAR_CELLS * Math.min(1, Math.max(0, fraction)));
  return '\u2588'.repeat(full) + '\u2591'.repeat(BAR_CELLS - full);
}

export class Output {
  private running: Running | undefined;
  private printed = 0;
  private interval = PLAIN_INTERVAL.first;
  private named: Naming = (text) => text;
  private readonly terminal: { bars: boolean; colors: boolean };

  constructor(private options: OutputOptions) {
    guardStreams();
    this.terminal = terminalOf(process.env, process.stderr.isTTY);
  }

  get json(): boolean {
    return this.options.json;
  }

  /** Options that a configuration file changed after the first reading of the flags. */
  configure(options: OutputOptions): void {
    this.options = options;
  }

  /** How messages name the options of the command that runs. */
  nameOptions(named: Naming): void {
    this.named = named;
  }

  /** The one result of a command. @throws IO where stdout cannot take it */
  async result(text: string, value: unknown): Promise<void> {
    await this.raw(this.options.json ? `${JSON.stringify(value)}\n` : text === '' ? '' : `${printable(text)}\n`);
  }

  /** A result that is neither text nor JSON of ours. @throws IO if stdout cannot take it */
  async raw(data: Uint8Array | string): Promise<void> {
    this.endProgress();
    await writeResult(data);
  }

  /** What `raw` takes, as a stream. */
  stream(): Writable {
    const stream = new Writable({
      write: (chunk: Buffer, _encoding, done) => void this.raw(chunk).then(() => done(), done),
    });
    return stream.on('error', () => undefined); // the writer learns of it through its callback
  }

  log(message: string): void {
    if (!this.options.quiet) this.line(printable(this.named(message)));
  }

  warn(message: string): void {
    if (!this.options.quiet) this.line(`${this.paint('33', 'warning:')} ${printable(this.named(message))}`);
  }

  debug(message: string): void {
    if (this.options.verbose) this.line(printable(this.named(message)));
  }

  /** An error as sentence and hint on stderr, or with --json as {"error": ...} on stdout where that can be written; with -v its stack and causes on stderr. */
  async error(error: DiffmineError): Promise<void> {
    this.endProgress();
    if (!(this.options.json && (await this.errorAsJson(error)))) {
      this.line(`${this.paint('31', 'error:')} ${printable(this.named(error.message))}`);
      if (error.hint) this.line(`${this.paint('36', 'hint:')} ${printable(this.named(error.hint))}`);
    }
    if (!this.options.verbose) return;
    for (let cause: unknown = error, depth = 0; cause !== undefined && depth < 5; depth++) {
      const stack = stackOf(cause);
      this.line(printable(depth === 0 ? stack : `caused by: ${stack}`));
      cause = causeOf(cause);
    }
  }

  /** @returns whether stdout took it */
  private async errorAsJson({ code, message, hint }: DiffmineError): Promise<boolean> {
    const told = { code, message: this.named(message), ...(hint ? { hint: this.named(hint) } : {}) };
    return writeResult(`${JSON.stringify({ error: told })}\n`).then(
      () => true,
      () => false,
    );
  }

  readonly progress = (event: ProgressEvent): void => {
    if (this.options.quiet || event.total <= 0) return;
    const [title, unit, then] = STAGES[event.type] ?? [event.type, '', FINISHING];
    const now = performance.now();
    if (this.running?.type !== event.type) {
      this.endProgress();
      this.running = { type: event.type, started: now, first: event.done, drawn: 0 };
      this.printed ||= now;
    }
    const { running } = this;
    const rate = event.rate ?? (event.done - running.first) / Math.max(1e-3, (now - running.started) / 1000);
    const left = rate > 0 ? duration(event.secondsLeft ?? (event.total - event.done) / rate) : '?';
    const perSecond = rate >= 10 ? rate.toFixed(0) : significant(rate, 2);
    const percent = Math.floor((100 * event.done) / event.total);
    const doing = event.doing ?? (event.done < event.total ? undefined : then);
    const more = event.note === undefined ? [] : [event.note];
    if (this.terminal.bars) {
      if (running.drawn > 0 && now - running.drawn < BAR_INTERVAL && doing === undefined) return;
      running.drawn = now;
      const pace = doing !== undefined ? [doing] : rate > 0 ? [`${perSecond}/s`, `${left} left`] : [];
      const text = [
        `${title.padEnd(10)} ${bar(event.done / event.total)} ${percent} %`,
        `${event.done}/${event.total} ${unit}`,
        ...pace,
        ...more,
      ].join('  ');
      // a line that wraps could not be erased
      writeMessage(ERASE + text.slice(0, (process.stderr.columns || 80) - 1));
    } else if (now - this.printed >= this.interval) {
      this.printed = now;
      this.interval = Math.min(PLAIN_INTERVAL.last, this.interval * PLAIN_INTERVAL.factor);
      const pace = doing !== undefined ? [doing] : [`${perSecond}/s`, `${left} left`];
      this.line([`${title}: ${event.done} of ${event.total} ${unit} (${percent} %)`, ...pace, ...more].join(', '));
    }
  };

  endProgress(): void {
    if (this.barShown) writeMessage(ERASE);
    this.running = undefined;
  }

  private get barShown(): boolean {
    return this.terminal.bars && (this.running?.drawn ?? 0) > 0;
  }

  private line(message: string): void {
    writeMessage(`${this.barShown ? ERASE : ''}${message}\n`);
  }

  private paint(color: string, word: string): string {
    return this.terminal.colors ? `\x1b[${color}m${word}\x1b[0m` : word;
  }
}
