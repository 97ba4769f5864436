// Writes data as classic scripts: a page opened from disk cannot fetch, but can add a <script>.

/** `call(...values);` as the text of a .js file, safe also inside <script>: no `<`, and no line separators that are not JSON's. */
export function scriptOf(call: string, ...values: unknown[]): string {
  const json = values.map((value) => JSON.stringify(value)).join(',');
  return `${call}(${json.replace(/[<\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)});\n`;
}
