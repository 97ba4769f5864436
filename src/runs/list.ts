// index.parquet: the items of a sharded folder, one per row, in the order of the shards. It is a table beside the manifest because there may be millions:
// it is written and read in row groups, and a shard reads only its own rows.
import { open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { AsyncBuffer, FileMetaData } from 'hyparquet' with { 'resolution-mode': 'import' };
import { DiffmineError } from '../util/errors.js';
import { discard, syncFile, temporaryName } from './atomic.js';
import { sha256File } from '../util/sha256.js';
import { members, text, whole } from './json-shape.js';
import { CREATED_BY, parquetSchema, type Row, type Schema } from './tables.js';

export const LIST = 'index.parquet';
/** Rows that are written, and read, at once. */
const GROUP = 16_384;

/** What the manifest says of the list: `sha256` is of the file. */
export interface ListRecord {
  rows: number;
  sha256: string;
}

export const LIST_RECORD = members({ rows: whole(0), sha256: text });

/** Rows that can be gone through, once or more. */
export interface Rows extends Iterable<Row> {
  length: number;
}

/** Writes the list of a folder, whole or not at all. */
export async function writeList(folder: string, schema: Schema, rows: Rows): Promise<ListRecord> {
  const { fileWriter, ParquetWriter } = await import('hyparquet-writer');
  const target = join(folder, LIST);
  const temporary = temporaryName(target);
  try {
    const writer = new ParquetWriter({
      writer: fileWriter(temporary),
      schema: await parquetSchema(schema),
      createdBy: CREATED_BY,
      statistics: false,
    });
    let group: Row[] = [];
    const flush = async (): Promise<void> => {
      await writer.write({
        columnData: schema.map(([name]) => ({ name, data: group.map((row) => row[name] ?? null) })),
        rowGroupSize: GROUP,
      });
      group = [];
      await setImmediate(); // signals are heard between groups
    };
    for (const row of rows) {
      group.push(row);
      if (group.length === GROUP) await flush();
    }
    if (group.length > 0) await flush();
    await writer.finish();
    await syncFile(temporary);
    const record = { rows: rows.length, sha256: await sha256File(temporary) };
    await rename(temporary, target);
    return record;
  } finally {
    await discard(temporary);
  }
}

/** Whether two lists have equal values in these columns, row by row. */
export async function haveSameRows<R extends Row>(
  a: ListFile<R>,
  b: ListFile<R>,
  columns: readonly (keyof R & string)[],
): Promise<boolean> {
  if (a.length !== b.length) return false;
  const others = b.groups(columns);
  for await (const group of a.groups(columns)) {
    const other = (await others.next()).value as R[];
    if (!group.every((row, i) => columns.every((column) => row[column] === other[i]?.[column]))) return false;
  }
  return true;
}

/** The list of a folder. */
export class ListFile<R extends Row> {
  private opened: Promise<{ metadata: FileMetaData; file: AsyncBuffer }> | undefined;
  /** the group that was read last: shards are done in order */
  private last: { group: number; columns: string; rows: R[] } | undefined;

  private constructor(
    private readonly path: string,
    readonly length: number,
  ) {}

  /** @throws RUN_INVALID if the file is not there, or is not the one that the manifest was written with */
  static async open<R extends Row>(folder: string, record: ListRecord): Promise<ListFile<R>> {
    const path = join(folder, LIST);
    const found = await sha256File(path).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        throw new DiffmineError('RUN_INVALID', `${path} is missing.`, 'Restore it, or start again in a new folder.');
      throw error;
    });
    if (found !== record.sha256)
      throw new DiffmineError(
        'RUN_INVALID',
        `${path} is damaged: its checksum is not the one in manifest.json.`,
        'Restore it, or start again in a new folder.',
      );
    return new ListFile(path, record.rows);
  }

  /**
   * Rows begin ... end.
   *
   * @param columns only these; default: all
   */
  async read(begin: number, end: number, columns?: readonly (keyof R & string)[]): Promise<R[]> {
    const rows: R[] = [];
    for (let group = Math.floor(begin / GROUP); group * GROUP < Math.min(end, this.length); group += 1) {
      const all = await this.group(group, columns);
      rows.push(...all.slice(Math.max(0, begin - group * GROUP), end - group * GROUP));
    }
    return rows;
  }

  /** All rows, a group at a time. */
  async *groups(columns?: readonly (keyof R & string)[]): AsyncGenerator<R[]> {
    for (let group = 0; group * GROUP < this.length; group += 1) yield this.group(group, columns);
  }

  private async group(group: number, columns?: readonly string[]): Promise<R[]> {
    const wanted = JSON.stringify(columns ?? null);
    if (this.last?.group === group && this.last.columns === wanted) return this.last.rows;
    const { parquetReadObjects } = await import('hyparquet');
    try {
      const { metadata, file } = await (this.opened ??= this.start());
      const rows = (await parquetReadObjects({
        file,
        metadata,
        rowStart: group * GROUP,
        rowEnd: Math.min(this.length, (group + 1) * GROUP),
        ...(columns ? { columns: [...columns] } : {}),
      })) as R[];
      this.last = { group, columns: wanted, rows };
      return rows;
    } catch (error) {
      throw new DiffmineError('RUN_INVALID', `${this.path} cannot be read: ${(error as Error).message}`, undefined, {
        cause: error,
      });
    }
  }

  private async start(): Promise<{ metadata: FileMetaData; file: AsyncBuffer }> {
    const { parquetMetadataAsync } = await import('hyparquet');
    const { size } = await stat(this.path);
    const slice = async (begin: number, end = size): Promise<ArrayBuffer> => {
      const bytes = new Uint8Array(end - begin);
      const handle = await open(this.path, 'r');
      try {
        for (let at = 0; at < bytes.length;) {
          const { bytesRead } = await handle.read(bytes, at, bytes.length - at, begin + at);
          if (bytesRead === 0) throw new Error('the file ends too early');
          at += bytesRead;
        }
      } finally {
        await handle.close();
      }
      return bytes.buffer;
    };
    const file = { byteLength: size, slice };
    return { file, metadata: await parquetMetadataAsync(file) };
  }
}
