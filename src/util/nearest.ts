// The closest known word to a mistyped one, for "did you mean".

/** Edits from one word to the other: a letter more, less or other, or two neighbors swapped. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  let before = row;
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next.push(
        Math.min(
          (row[j] ?? 0) + 1,
          (next[j - 1] ?? 0) + 1,
          (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
          isSwap ? (before[j - 2] ?? 0) + 1 : Infinity,
        ),
      );
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}

/** `inference-steps` and `inferenceSteps` -> inference, steps */
const partsOf = (name: string): string[] => name.split(/-|(?=[A-Z])/).map((part) => part.toLowerCase());

/** The names that `word` may mean: the one it is a typing error of, else all that it is a part of (`steps`: `inference-steps`), else one that is like it. */
export function guesses(word: string, names: readonly string[]): string[] {
  const near = (most: number): string[] => {
    const name = nearest(word, names, Math.min(most, Math.floor(word.length / 2)));
    return name === undefined ? [] : [name];
  };
  const typed = near(2);
  if (typed.length > 0) return typed;
  const longer = names.filter((name) => partsOf(name).includes(word.toLowerCase()));
  return longer.length > 0 ? longer : near(4);
}

/** The candidate nearest to `word`, if it lies within `limit` edits. */
export function nearest(word: string, candidates: Iterable<string>, limit = Infinity): string | undefined {
  let best: string | undefined;
  let min = Infinity;
  for (const candidate of candidates) {
    const edits = distance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < min) [best, min] = [candidate, edits];
  }
  return min <= limit ? best : undefined;
}
