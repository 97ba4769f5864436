// Values of Parquet columns as texts need them: what is written, no more and no less. Two labels must never become one.
import type { ParquetParsers, SchemaElement } from 'hyparquet' with { 'resolution-mode': 'import' };

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes that are not UTF-8 would all become U+FFFD. A date has no time of day. */
export const PARSERS: Partial<ParquetParsers> = {
  stringFromBytes: (bytes: Uint8Array | undefined) => bytes && strict.decode(bytes),
  jsonFromBytes: (bytes: Uint8Array | undefined) => bytes && (JSON.parse(strict.decode(bytes)) as unknown),
  dateFromDays: (days: number) => new Date(days * 86_400_000).toISOString().replace(/T.*/, ''),
};

export const isDecimal = ({ converted_type: converted, logical_type: logical }: SchemaElement): boolean =>
  converted === 'DECIMAL' || logical?.type === 'DECIMAL';

/** What is read as it is stored, and converted by `exact`: a decimal number as a float would lose digits. */
export function plainElement(element: SchemaElement): SchemaElement {
  const plain = { ...element };
  if (isDecimal(element)) {
    delete plain.converted_type;
    delete plain.logical_type;
  }
  return plain;
}

/** What makes a column's values exact; undefined: they are. */
export function exact(element: SchemaElement): ((value: unknown) => unknown) | undefined {
  if (isDecimal(element)) {
    const { logical_type: logical } = element;
    const scale = element.scale ?? (logical?.type === 'DECIMAL' ? logical.scale : 0);
    return (value) => (value === null || value === undefined ? value : decimalText(integerOf(value), scale));
  }
  if (element.type === 'FLOAT') return shortestFloat;
  return undefined;
}

/** An integer as Parquet stores it: a number, or big-endian bytes. */
function integerOf(value: unknown): bigint {
  if (!(value instanceof Uint8Array)) return BigInt(value as number | bigint);
  const hex = Buffer.from(value).toString('hex');
  return hex === '' ? 0n : BigInt.asIntN(8 * value.length, BigInt(`0x${hex}`));
}

/** 1910 with a scale of 2 -> '19.1', as other numbers are written. */
function decimalText(value: bigint, scale: number): string {
  const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0');
  const [whole, fraction] = [digits.slice(0, digits.length - scale), digits.slice(digits.length - scale)];
  const rest = fraction.replace(/0+$/, '');
  return `${value < 0n ? '-' : ''}${whole}${rest === '' ? '' : `.${rest}`}`;
}

/** The number of fewest digits that is the same as a float of 32 bits: 0.1 instead of 0.10000000149011612. */
function shortestFloat(value: unknown): unknown {
  if (typeof value !== 'number' || !Number.isFinite(value)) return value;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
