// Names of folders and files on pages. A page may be published, so it names no path of the machine that made it; those are in the run's manifest.

/** Parts of a dataset, and what model folders are often called: such a name says little without the one above it. */
const COMMON = /^(model|train|training|heldout|test|val)$/i;

/** The last part of a path, with the part above it where that is a common name. */
export function shownName(path: string): string {
  const parts = path.split(/[\\/]/).filter((part) => part !== '');
  return parts.slice(COMMON.test(parts.at(-1) ?? '') ? -2 : -1).join('/');
}

/** Members of a model, a dataset, boxes or a run that hold paths. */
const PATHS = new Set(['path', 'tokenizer', 'vae', 'lora', 'imageRoot', 'map', 'folder', 'file']);

/** What a manifest or record says of an input, with names instead of paths, and its own `name`. */
export function named<T extends { path: string }>(input: T): T & { name: string } {
  const members = Object.entries(input).map(([key, value]: [string, unknown]) => {
    const name = (one: unknown): unknown => (PATHS.has(key) && typeof one === 'string' ? shownName(one) : one);
    return [key, Array.isArray(value) ? value.map(name) : name(value)];
  });
  return { name: shownName(input.path), ...(Object.fromEntries(members) as T) };
}
