// Images with several labels, such as 'Mass|Nodule' in chest X-ray lists. A dataset keeps the string; scoring and prompts split it.

/** Between the labels of an image that has several. */
export const SEPARATOR = '|';

/** The labels of an image, in order, without duplicates: 'A|B' -> ['A', 'B']. Surrounding white space and empty parts are removed. */
export function splitLabels(label: string): string[] {
  return [...new Set(label.split(SEPARATOR).map((part) => part.trim()))].filter((part) => part !== '');
}

/** The labels of an image as a prompt lists them: 'A|B' -> 'A, B'; a single label is not changed. */
export function spokenLabels(label: string): string {
  return label.includes(SEPARATOR) ? splitLabels(label).join(', ') : label;
}

/**
 * The one of `labels` that `name` means: itself, or else one that differs from it in Unicode normalization only. File systems, keyboards and tables write
 * "é" as one character or as two.
 */
export function findLabel(labels: readonly string[], name: string): string | undefined {
  if (labels.includes(name)) return name;
  const form = name.normalize('NFC');
  return labels.find((label) => label.normalize('NFC') === form);
}

/** Of labels that differ in Unicode normalization only, the first. */
export function distinctLabels(labels: readonly string[]): string[] {
  const seen = new Set<string>();
  return labels.filter((label) => {
    const form = label.normalize('NFC');
    const first = !seen.has(form);
    seen.add(form);
    return first;
  });
}

/** '"a", "b" and 3 more' */
export function listed(labels: readonly string[], most = 5): string {
  const shown = labels
    .slice(0, most)
    .map((label) => JSON.stringify(label))
    .join(', ');
  return labels.length > most ? `${shown} and ${labels.length - most} more` : shown;
}

/** Characters that take no place. Those that join emoji, or the letters of some scripts, change what is seen. */
const INVISIBLE = /[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g;

/** Sentences about labels that look the same: tables from web pages and spreadsheets have invisible characters. */
export function lookAlikes(labels: readonly string[]): string[] {
  const bySight = new Map<string, string[]>();
  for (const label of labels) {
    const key = label.normalize('NFC').replace(INVISIBLE, '');
    const alike = bySight.get(key);
    if (alike) alike.push(label);
    else bySight.set(key, [label]);
  }
  return [...bySight.values()]
    .filter((alike) => distinctLabels(alike).length > 1)
    .map((alike) => {
      const spelled = alike.map((label) =>
        label.replace(INVISIBLE, (char) => `<U+${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}>`),
      );
      return `Warning: the labels ${listed(spelled)} differ only in invisible characters. They are read as different labels; \`map\` renames them.`;
    });
}

/** Whether two labels, each of which may be several ('A|B'), have one in common. Compared after NFC: file names may be NFD. */
export function sharesLabel(a: string, b: string): boolean {
  const [one, other] = [a.normalize('NFC'), b.normalize('NFC')];
  if (one === other) return true;
  const labels = new Set(splitLabels(other));
  return splitLabels(one).some((label) => labels.has(label));
}

/**
 * Labels that an option names. A value is a label as it is, commas and all; one that is not a label is split at commas into labels, the longest first.
 *
 * @param known labels; of a model that takes any text, those of the dataset
 * @param only other labels are not allowed: of a value that has a label among its parts, the parts are returned, so that an error can name the wrong one
 */
export function namedLabels(values: readonly string[], known: readonly string[], only = false): string[] {
  const find = (text: string): string | undefined => findLabel(known, text) ?? findLabel(known, text.trim());
  return values.flatMap((value) => {
    const parts = value.split(',');
    const dead = new Set<number>();
    const from = (start: number): string[] | undefined => {
      if (start === parts.length) return [];
      if (dead.has(start)) return undefined;
      for (let end = parts.length; end > start; end--) {
        const label = find(parts.slice(start, end).join(','));
        const rest = label === undefined ? undefined : from(end);
        if (label !== undefined && rest) return [label, ...rest];
      }
      dead.add(start);
      return undefined;
    };
    const labels = from(0);
    if (labels) return labels;
    return only && parts.some((part) => find(part) !== undefined)
      ? parts.map((part) => find(part) ?? part.trim())
      : [value];
  });
}
