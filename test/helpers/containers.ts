// Writes datasets in containers, as other tools write them: tar shards by tar-stream, Parquet by hyparquet-writer.
import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { pack } from 'tar-stream';

export async function writeTar(
  file: string,
  members: readonly (readonly [name: string, bytes: Buffer | string])[],
): Promise<void> {
  const archive = pack();
  const out = archive.pipe(createWriteStream(file));
  for (const [name, bytes] of members) archive.entry({ name }, bytes);
  archive.finalize();
  await finished(out);
}

export interface Feature {
  name: string;
  values: readonly (string | bigint | number | null)[];
  type: 'STRING' | 'INT64' | 'DOUBLE';
  /** makes it a ClassLabel */
  classes?: readonly string[];
}

/** A table as Hugging Face datasets write it: a struct image of bytes and path, other columns, features in the metadata. */
export async function writeImageParquet(
  file: string,
  images: readonly ({ bytes: Uint8Array; path: string | null } | null)[],
  features: readonly Feature[],
  {
    column = 'image',
    rowGroupSize = 1000,
    pageSize = 2 ** 20,
    codec = 'SNAPPY',
  }: { column?: string; rowGroupSize?: number; pageSize?: number; codec?: 'SNAPPY' | 'UNCOMPRESSED' } = {},
): Promise<void> {
  const { parquetWriteBuffer } = await import('hyparquet-writer');
  const huggingface = {
    info: {
      features: Object.fromEntries([
        [column, { _type: 'Image' }],
        ...features.map(({ name, classes }) => [
          name,
          classes ? { _type: 'ClassLabel', names: classes } : { _type: 'Value', dtype: 'string' },
        ]),
      ]) as object,
    },
  };
  const buffer = parquetWriteBuffer({
    schema: [
      { name: 'root', num_children: 1 + features.length },
      { name: column, num_children: 2, repetition_type: 'OPTIONAL' },
      { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
      { name: 'path', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
      ...features.map(({ name, type }) => ({
        name,
        type: type === 'STRING' ? ('BYTE_ARRAY' as const) : type,
        ...(type === 'STRING' ? { converted_type: 'UTF8' as const } : {}),
        repetition_type: 'OPTIONAL' as const,
      })),
    ],
    columnData: [
      { name: column, data: [...images] },
      ...features.map(({ name, values }) => ({ name, data: [...values] })),
    ],
    rowGroupSize,
    pageSize,
    codec,
    kvMetadata: [{ key: 'huggingface', value: JSON.stringify(huggingface) }],
  });
  await writeFile(file, new Uint8Array(buffer));
}
