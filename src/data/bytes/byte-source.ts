// Where the bytes of a container (tar, Parquet) come from: a file (source.ts) or an object in a bucket (remote.ts).

/** Bytes of a known number that can be read from any place. */
export interface ByteSource {
  /** as messages name it */
  readonly name: string;
  readonly size: number;
  /** ms; undefined where the store knows none */
  readonly mtime: number | undefined;
  /** Bytes begin ... end, exclusive; fewer only at the end of the source. */
  read(begin: number, end: number): Promise<Buffer>;
  /** The bytes from `begin` on, in chunks of any length. */
  stream(begin?: number): AsyncIterable<Buffer>;
  close(): Promise<void>;
}
