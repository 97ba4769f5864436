// The tables of a run, in Parquet. Written and read by small pure-JavaScript libraries. Queries over many files use DuckDB, which is large and
// therefore loaded on first use (never in a worker thread: ending a thread that loaded it aborts the process).
import { randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DuckDBConnection } from '@duckdb/node-api';
import type { SchemaElement } from 'hyparquet' with { 'resolution-mode': 'import' };
import { DiffmineError } from '../util/errors.js';

export type ColumnType = 'STRING' | 'INT32' | 'DOUBLE';
export type Cell = string | number | null;
export type Row = Record<string, Cell>;

/** Columns in order; every column may hold nulls. */
export type Schema = readonly (readonly [name: string, type: ColumnType])[];

export const CREATED_BY = 'diffmine';

/** The schema as Parquet writes it. */
export async function parquetSchema(schema: Schema): Promise<SchemaElement[]> {
  const { schemaFromColumnData } = await import('hyparquet-writer');
  return schemaFromColumnData({ columnData: schema.map(([name, type]) => ({ name, type, data: [], nullable: true })) });
}

/** The bytes of a Parquet file. The same rows give the same bytes: no time, no version, no random number is in it. */
export async function encodeTable(rows: readonly Row[], schema: Schema): Promise<Uint8Array> {
  const { parquetWriteBuffer } = await import('hyparquet-writer');
  const columnData = schema.map(([name, type]) => ({
    name,
    type,
    data: rows.map((row) => row[name] ?? null),
    nullable: true,
  }));
  return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 100_000, createdBy: CREATED_BY }));
}

export async function writeTable(file: string, rows: readonly Row[], schema: Schema): Promise<void> {
  await writeFile(file, await encodeTable(rows, schema));
}

/**
 * All rows of one Parquet file.
 *
 * @param columns only these, default all
 * @throws RUN_INVALID for a file that is missing or is not Parquet
 */
export async function readTable<T = Row>(file: string, columns?: string[]): Promise<T[]> {
  const bytes = await readFile(file).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new DiffmineError(
        'RUN_INVALID',
        `${file} is missing.`,
        'Restore it, or run the command that wrote it again.',
        { cause: error },
      );
    throw error;
  });
  const { parquetReadObjects } = await import('hyparquet');
  try {
    const rows = await parquetReadObjects({
      file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
      ...(columns ? { columns } : {}),
    });
    return rows as T[];
  } catch (error) {
    throw new DiffmineError('RUN_INVALID', `${file} is damaged: ${(error as Error).message}`, undefined, {
      cause: error,
    });
  }
}

/** Quotes a text for SQL. */
export function sqlText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A read_parquet call over the files, whose names stand for themselves: `*`, `?` and `[` are no patterns. */
export function sqlFiles(files: readonly string[], options = ''): string {
  return `read_parquet([${files.map((file) => sqlText(file.replace(/[[*?]/g, '[$&]'))).join(', ')}]${options})`;
}

/** Runs `work` with a DuckDB connection (in memory). */
export async function withDuckDB<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  // made when memory is short; by default it would be .tmp in the working directory
  const spilled = join(tmpdir(), `diffmine-tables-${process.pid}-${randomBytes(4).toString('hex')}`);
  // no copy of the files that are read is kept
  const instance = await DuckDBInstance.create(':memory:', {
    enable_external_file_cache: 'false',
    temp_directory: spilled,
  });
  try {
    const connection = await instance.connect();
    try {
      return await work(connection);
    } finally {
      connection.closeSync();
    }
  } finally {
    instance.closeSync();
    await rm(spilled, { recursive: true, force: true });
  }
}

/** The rows of a query over Parquet files. Numbers must be INTEGER or DOUBLE: wider ones would come as other types. */
export async function query<T = Row>(sql: string): Promise<T[]> {
  return withDuckDB(async (connection) => {
    const result = await connection.runAndReadAll(sql);
    return result.getRowObjectsJS() as T[];
  });
}
