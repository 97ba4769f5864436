// Reads YAML in which texts need no quotes: 007, 1.10 and true are what is written where text is meant.
import { isMap, isScalar, parseDocument, visit, type Node } from 'yaml';

/** Makes plain numbers and booleans texts, as written: the number 007 would be 7. Empty values and null stay. */
function keepTexts(part: unknown): void {
  const keep = (node: unknown): void => {
    if (isScalar(node) && ['number', 'boolean'].includes(typeof node.value) && node.source !== undefined)
      node.value = node.source;
  };
  keep(part);
  visit(part as Node | null, { Scalar: (_, node) => keep(node) });
}

/**
 * The value of a YAML or JSON document. Keys are texts.
 *
 * @param isText whether the values below a key of the document are texts
 * @throws Error for what is not YAML
 */
export function readYaml(source: string, isText: (key: string) => boolean): unknown {
  const document = parseDocument(source, { logLevel: 'error' });
  if (document.errors[0]) throw document.errors[0];
  if (isMap(document.contents)) {
    for (const { key, value } of document.contents.items) {
      keepTexts(key);
      if (isScalar(key) && isText(String(key.value))) keepTexts(value);
    }
  }
  return document.toJS();
}
