// Labels that have an order: numbers, years, decades, and ranges of them.

/** A number, perhaps the first of a range, perhaps a decade: 1920, 1920s, "1920-1929", 0.5. */
const ORDERED = /^\s*([-−]?\d+(?:\.\d+)?)\s*(?:s|['’]s)?\s*(?:[-–—]\s*\d+(?:\.\d+)?\s*(?:s|['’]s)?\s*)?$/u;

export interface OrderedLabel {
  label: string;
  position: number;
}

/** The labels by their numbers, ascending; null where one has none or two have the same, and of fewer than three. */
export function orderedLabels(labels: readonly string[]): OrderedLabel[] | null {
  const found = labels.flatMap((label) => {
    const number = ORDERED.exec(label)?.[1];
    return number === undefined ? [] : [{ label, position: Number(number.replace('−', '-')) }];
  });
  if (found.length < Math.max(3, labels.length)) return null;
  if (new Set(found.map(({ position }) => position)).size < found.length) return null;
  return found.sort((a, b) => a.position - b.position);
}
