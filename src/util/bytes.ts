// Byte counts in words.

/** 1234567 -> '1.2 MB' (powers of ten). */
export function byteSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  for (; Math.round(bytes) >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${unit === 0 ? Math.round(bytes) : bytes.toFixed(bytes < 10 ? 1 : 0)} ${units[unit]}`;
}
