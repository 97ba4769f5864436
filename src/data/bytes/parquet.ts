// Parquet files with image bytes: columns of plain values, and the bytes of one row, of which only its page is read. Pages are found by the file's offset
// index, or by walking the page headers of one row group.
import * as zlib from 'node:zlib';
import type { AsyncBuffer, ColumnChunk, CompressionCodec, FileMetaData, SchemaTree } from 'hyparquet' with {
  'resolution-mode': 'import',
};
import { DiffmineError } from '../../util/errors.js';
import { Kept } from '../../util/kept.js';
import type { ByteSource } from './byte-source.js';
import { exact, isDecimal, PARSERS, plainElement } from './parquet-values.js';

/** Rows of one page of a column. */
interface Page {
  /** in its row group */
  row: number;
  begin: number;
  end: number;
}

interface Group {
  /** first row in the file */
  row: number;
  rows: number;
  chunks: Map<string, ColumnChunk>;
}

/** A column of plain values or of lists of them, not of maps. */
export interface Leaf {
  /** with dots between a struct and its field */
  path: string;
  /** its name in row groups: that of a list has two more parts */
  chunk: string;
  isList: boolean;
  tree: SchemaTree[];
  /** of bytes, not text */
  isBinary: boolean;
}

/** Pages that are kept decoded, bytes. */
const KEPT = 64 * 2 ** 20;
/** Pages whose places are kept. */
const MOST_PAGES = 2 ** 20;
/** A page header is read with this many bytes; statistics may make it longer. */
const HEADER = 2 ** 16;

type Compressors = Partial<Record<CompressionCodec, (input: Uint8Array, size: number) => Uint8Array>>;

const arrayOf = (bytes: Buffer): ArrayBuffer =>
  bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;

/** What the library does not decompress itself; Node's own where it has it, which is faster. */
async function codecs(): Promise<Compressors> {
  const { decompressLz4, decompressLz4Raw, decompressZstd } = await import('hyparquet-compressors');
  const { zstdDecompressSync = decompressZstd } = zlib as { zstdDecompressSync?: (bytes: Uint8Array) => Buffer };
  return {
    GZIP: (bytes) => zlib.gunzipSync(bytes),
    BROTLI: (bytes) => zlib.brotliDecompressSync(bytes),
    LZ4: decompressLz4,
    LZ4_RAW: decompressLz4Raw,
    ZSTD: (bytes) => zstdDecompressSync(bytes),
  };
}

export class ParquetFile {
  /** decoded pages, by their first byte */
  private readonly pages = new Kept<number, { values: ArrayLike<unknown>; bytes: number }>(KEPT, ({ bytes }) => bytes);
  /** pages of a column in a row group, and its dictionary, by both */
  private readonly layouts = new Kept<string, Page[]>(MOST_PAGES, ({ length }) => length + 1);
  private readonly dictionaries = new Kept<string, Buffer>(KEPT, ({ length }) => length);

  private constructor(
    readonly source: ByteSource,
    readonly metadata: FileMetaData,
    readonly leaves: Leaf[],
    readonly groups: Group[],
    private readonly compressors: Compressors,
  ) {}

  /** @throws DATASET_INVALID if it is not a Parquet file */
  static async open(source: ByteSource): Promise<ParquetFile> {
    const { parquetMetadataAsync, parquetSchema } = await import('hyparquet');
    const file: AsyncBuffer = {
      byteLength: source.size,
      slice: async (begin, end = source.size) => arrayOf(await source.read(begin, end)),
    };
    const metadata = await parquetMetadataAsync(file).catch((cause: unknown) => {
      throw new DiffmineError(
        'DATASET_INVALID',
        `'${source.name}' is not a Parquet file: ${(cause as Error).message}.`,
        undefined,
        { cause },
      );
    });
    let row = 0;
    const groups = metadata.row_groups.map((group): Group => {
      const rows = Number(group.num_rows);
      const chunks = new Map(
        group.columns.flatMap((chunk) => (chunk.meta_data ? [[chunk.meta_data.path_in_schema.join('.'), chunk]] : [])),
      );
      row += rows;
      return { row: row - rows, rows, chunks };
    });
    const leaves = leavesOf(parquetSchema(metadata));
    const twice = leaves.find(({ path }, i) => leaves.findIndex((one) => one.path === path) !== i);
    if (twice)
      throw new DiffmineError(
        'DATASET_INVALID',
        `'${source.name}': there are two columns '${twice.path}'.`,
        'Rename one of them.',
      );
    return new ParquetFile(source, metadata, leaves, groups, await codecs());
  }

  get rows(): number {
    return Number(this.metadata.num_rows);
  }

  /** The value of the file's key-value metadata. */
  note(key: string): string | undefined {
    return this.metadata.key_value_metadata?.find((one) => one.key === key)?.value;
  }

  /** Compressed bytes per row of a column, on average over a row group. */
  bytesPerRow(group: Group, leaf: Leaf): number {
    const size = Number(group.chunks.get(leaf.chunk)?.meta_data?.total_compressed_size ?? 0);
    return group.rows === 0 ? 0 : Math.floor(size / group.rows);
  }

  /** All values of a column of plain values in a row group; its chunk is in memory. */
  async values(group: Group, leaf: Leaf): Promise<ArrayLike<unknown>> {
    const chunk = this.chunk(group, leaf);
    const begin = Number(chunk.dictionary_page_offset ?? chunk.data_page_offset);
    const bytes = await this.source.read(begin, begin + Number(chunk.total_compressed_size));
    return this.decode(bytes, leaf, chunk);
  }

  /** The value of a row; one page is read, and kept for the rows beside it. */
  async value(row: number, leaf: Leaf): Promise<unknown> {
    const group = this.groups.find((one) => row >= one.row && row < one.row + one.rows);
    if (!group) throw new DiffmineError('DATASET_INVALID', `'${this.source.name}' has no row ${row}.`);
    const chunk = this.chunk(group, leaf);
    const layout = await this.layouts.get(`${group.row} ${leaf.path}`, async () => this.layout(group, leaf));
    const place = layout.findLastIndex((page) => page.row <= row - group.row);
    const page = layout[place];
    if (!page) throw new DiffmineError('DATASET_INVALID', `'${this.source.name}' has no page of row ${row}.`);
    const { values } = await this.pages.get(page.begin, async () => this.page(page, group, leaf, chunk));
    return values[row - group.row - page.row];
  }

  private chunk(group: Group, leaf: Leaf): NonNullable<ColumnChunk['meta_data']> {
    const chunk = group.chunks.get(leaf.chunk)?.meta_data;
    if (!chunk) throw new DiffmineError('DATASET_INVALID', `'${this.source.name}' has no column '${leaf.path}'.`);
    return chunk;
  }

  private async page(
    page: Page,
    group: Group,
    leaf: Leaf,
    chunk: NonNullable<ColumnChunk['meta_data']>,
  ): Promise<{ values: ArrayLike<unknown>; bytes: number }> {
    const first = Number(chunk.data_page_offset);
    const begin = Number(chunk.dictionary_page_offset ?? first);
    const dictionary = await this.dictionaries.get(`${group.row} ${leaf.path}`, async () =>
      this.source.read(begin, Math.max(begin, first)),
    );
    const bytes = Buffer.concat([dictionary, await this.source.read(page.begin, page.end)]);
    return { values: await this.decode(bytes, leaf, chunk), bytes: bytes.length };
  }

  /** Values of whole pages, the dictionary's first. */
  private async decode(
    bytes: Buffer,
    leaf: Leaf,
    chunk: NonNullable<ColumnChunk['meta_data']>,
  ): Promise<ArrayLike<unknown>> {
    const { readColumn } = await import('hyparquet/src/column.js');
    const { DEFAULT_PARSERS } = await import('hyparquet/src/convert.js');
    const element = leaf.tree.at(-1)?.element;
    if (!element) throw new DiffmineError('INTERNAL', `The column ${leaf.path} has no schema.`);
    const decoder = {
      pathInSchema: chunk.path_in_schema,
      type: chunk.type,
      codec: chunk.codec,
      element: plainElement(element),
      schemaPath: leaf.tree,
      parsers: { ...DEFAULT_PARSERS, ...PARSERS },
      compressors: this.compressors,
      utf8: !leaf.isBinary && !isDecimal(element),
    };
    const view = new DataView(arrayOf(bytes));
    try {
      const { data } = readColumn(
        { view, offset: 0 },
        { groupStart: 0, selectStart: 0, selectEnd: Infinity, groupRows: Infinity },
        decoder,
      );
      const stored =
        data.length === 1 ? (data[0] as ArrayLike<unknown>) : data.flatMap((part) => Array.from<unknown>(part));
      const convert = exact(element);
      const values = convert ? Array.from(stored, (value) => deep(value, convert)) : stored;
      // each optional struct around the column is a list of one value, or of none
      const depth = leaf.tree
        .slice(1, -1)
        .filter(({ element: { repetition_type: type } }) => type === 'OPTIONAL').length;
      if (depth === 0) return values;
      return Array.from(values, (value) => {
        let inner = value;
        for (let level = 0; level < depth; level++) inner = (inner as unknown[] | undefined)?.[0];
        return inner;
      });
    } catch (cause) {
      if (cause instanceof DiffmineError) throw cause;
      const isText = (cause as { code?: unknown }).code === 'ERR_ENCODING_INVALID_ENCODED_DATA';
      throw new DiffmineError(
        'DATASET_INVALID',
        `'${this.source.name}': the column '${leaf.path}' ${isText ? 'has text that is not UTF-8' : `cannot be read: ${(cause as Error).message}`}.`,
        isText ? 'Write the column as UTF-8.' : undefined,
        { cause },
      );
    }
  }

  /** The pages of a column in a row group. */
  private async layout(group: Group, leaf: Leaf): Promise<Page[]> {
    const {
      meta_data: chunk,
      offset_index_offset: index,
      offset_index_length: length,
    } = group.chunks.get(leaf.chunk) as ColumnChunk;
    if (!chunk) return [];
    const first = Number(chunk.data_page_offset);
    const begin = Math.min(first, Number(chunk.dictionary_page_offset ?? first));
    const end = begin + Number(chunk.total_compressed_size);
    if (index && length) {
      const { readOffsetIndex } = await import('hyparquet');
      const bytes = arrayOf(await this.source.read(Number(index), Number(index) + length));
      const { page_locations: places } = readOffsetIndex({ view: new DataView(bytes), offset: 0 });
      return places.map(({ first_row_index: row, offset, compressed_page_size: size }) => ({
        row: Number(row),
        begin: Number(offset),
        end: Number(offset) + size,
      }));
    }
    const { parquetHeader } = await import('hyparquet/src/column.js');
    const pages: Page[] = [];
    let row = 0;
    for (let at = first; at < end && row < group.rows;) {
      let bytes = HEADER;
      let reader = { view: new DataView(arrayOf(await this.source.read(at, Math.min(end, at + bytes)))), offset: 0 };
      let header = headerOf(parquetHeader, reader);
      while (!header && at + bytes < end && bytes < 2 ** 26) {
        bytes *= 16;
        reader = { view: new DataView(arrayOf(await this.source.read(at, Math.min(end, at + bytes)))), offset: 0 };
        header = headerOf(parquetHeader, reader);
      }
      if (!header) throw new DiffmineError('DATASET_INVALID', `'${this.source.name}' is damaged at byte ${at}.`);
      const next = at + reader.offset + header.compressed_page_size;
      const rows = header.data_page_header?.num_values ?? header.data_page_header_v2?.num_rows;
      if (rows !== undefined) {
        pages.push({ row, begin: at, end: next });
        row += rows;
      }
      at = next;
    }
    return pages;
  }
}

/** Converts a value, or those of a list. */
const deep = (value: unknown, convert: (value: unknown) => unknown): unknown =>
  Array.isArray(value) ? value.map((one) => deep(one, convert)) : convert(value);

interface Reader {
  view: DataView<ArrayBuffer>;
  offset: number;
}

/** A page's header; undefined where it ends beyond what was read. */
function headerOf<Header>(parse: (reader: Reader) => Header, reader: Reader): Header | undefined {
  try {
    return parse(reader);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** The columns of plain values, also those of structs, and of lists of plain values. */
function leavesOf(root: SchemaTree): Leaf[] {
  const leaves: Leaf[] = [];
  const visit = (tree: SchemaTree[]): void => {
    const node = tree.at(-1) as SchemaTree;
    const list = tree.findIndex(({ element }) => element.repetition_type === 'REPEATED');
    // a list is a group LIST, its repeated group, and the element
    const { converted_type: kind, logical_type: type } = tree[1]?.element ?? {};
    if (list >= 0 && (list !== 2 || (kind !== 'LIST' && type?.type !== 'LIST') || tree.length > 4)) return;
    for (const child of node.children) visit([...tree, child]);
    if (node.children.length > 0 || tree.length === 1) return;
    const { converted_type: converted, logical_type: logical } = node.element;
    const isText = converted === 'UTF8' || logical?.type === 'STRING' || converted === 'JSON' || converted === 'ENUM';
    const isBinary = node.element.type === 'BYTE_ARRAY' && !isText && !isDecimal(node.element);
    const isList = list >= 0;
    if (isList && (isBinary || tree.length < 4)) return;
    const path = (isList ? (tree[1] as SchemaTree) : node).path.join('.');
    leaves.push({ path, chunk: node.path.join('.'), isList, tree, isBinary });
  };
  visit([root]);
  return leaves;
}
