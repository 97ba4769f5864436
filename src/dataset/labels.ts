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
