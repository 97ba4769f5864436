// Names of classes, which Hugging Face datasets write as numbers into a column and as names into the metadata of a Parquet file.
import type { ParquetFile } from './bytes/parquet.js';

/** That of lists has `feature`, of its elements. */
interface Feature {
  _type?: string;
  names?: unknown;
}

/** What gives a value of a column its class's name; other values stay. */
export function classNamer(file: ParquetFile): (column: string, value: unknown) => unknown {
  const found = new Map<string, string[]>();
  try {
    const { info } = JSON.parse(file.note('huggingface') ?? '{}') as {
      info?: { features?: Record<string, (Feature & { feature?: Feature }) | null> };
    };
    for (const [column, feature] of Object.entries(info?.features ?? {}))
      for (const one of [feature, feature?.feature])
        if (one?._type === 'ClassLabel' && Array.isArray(one.names)) found.set(column, one.names.map(String));
  } catch {
    // metadata of some other tool
  }
  return (column, value) => {
    const classes = found.get(column);
    if (!classes) return value;
    // -1 is a class that is not known
    const named = (one: unknown): unknown => (one === null || one === undefined ? one : (classes[Number(one)] ?? ''));
    return Array.isArray(value) ? value.map(named) : named(value);
  };
}
