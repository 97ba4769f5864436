// Picks k of n items, evenly spaced.

/** `count` of the items, evenly spaced through the list. */
export function evenly<Item>(items: readonly Item[], count: number): Item[] {
  const n = Math.min(count, items.length);
  return Array.from({ length: n }, (_, i) => items[Math.floor(((i + 0.5) * items.length) / n)] as Item);
}
