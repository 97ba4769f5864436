// Pictures with several labels: 'Mass|Nodule', as chest X-ray lists write them. A data set keeps the string as it is; who scores or prompts splits it.

/** Between the labels of a picture that has several. */
const SEPARATOR = '|';

/** The labels of a picture, in order, each once: 'A|B' -> ['A', 'B']. White space around them and empty parts go; a string of separators alone has none. */
export function splitLabels(label: string): string[] {
  return [...new Set(label.split(SEPARATOR).map((part) => part.trim()))].filter((part) => part !== '');
}

/** How a prompt names a picture's labels: 'A|B' -> 'A, B'; a single label stays as it is. */
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
  const shown = labels.slice(0, most).map((label) => JSON.stringify(label)).join(', ');
  return labels.length > most ? `${shown} and ${labels.length - most} more` : shown;
}
