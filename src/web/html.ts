// HTML templates that escape everything except markup, and formatting of numbers and times.

/** Markup, in contrast to text that still has to be escaped. */
export class Markup {
  constructor(readonly text: string) {}
}

type Child = Markup | string | number | null | undefined | false | readonly Child[];

/** `html\`<p>${text}</p>\``: what is put in is escaped, unless it is Markup itself; lists are joined; null, undefined and false are nothing. */
export function html(parts: TemplateStringsArray, ...children: Child[]): Markup {
  return new Markup(parts.reduce((text, part, i) => text + render(children[i - 1]) + part));
}

/** Text that is markup already, made by the program. */
export function raw(text: string): Markup {
  return new Markup(text);
}

function render(child: Child): string {
  if (child instanceof Markup) return child.text;
  if (child === null || child === undefined || child === false) return '';
  return typeof child === 'object' ? child.map(render).join('') : escape(String(child));
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Text as HTML and XML write it. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => ENTITIES[c] as string);
}

/** An element whose text the browser takes as it stands: a style or script that the page's policy allows by the hash of its text. */
export function verbatim(tag: 'style' | 'script', text: string): Markup {
  return raw(`<${tag}>${text}</${tag}>`);
}

/** JSON for a <script type="application/json">, which it cannot end. */
export function json(value: unknown): Markup {
  return raw(JSON.stringify(value).replace(/</g, '\\u003c'));
}

/** A relative file name as an address. */
export const address = (file: string): string => file.split('/').map(encodeURIComponent).join('/');

export const whole = (value: number): string => Math.round(value).toLocaleString('en');
export const count = (n: number, one: string, many = `${one}s`): string => `${whole(n)} ${n === 1 ? one : many}`;

/** So many significant digits, without an exponent: 2,840, 890, 0.0150. */
export const significant = (value: number, digits: number): string =>
  value.toLocaleString('en', { minimumSignificantDigits: digits, maximumSignificantDigits: digits });

/** Up to four significant digits: 0.03127, 1.2, 8e−7. The page's script writes them alike. */
export function short(value: number): string {
  if (Number.isNaN(value)) return 'not finite';
  const rounded = Number(value.toPrecision(4));
  return (rounded !== 0 && Math.abs(rounded) < 1e-3 ? rounded.toExponential() : String(rounded)).replaceAll('-', '−');
}

/** `90 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 100) return `${s} s`;
  const parts: [number, string][] = [
    [Math.floor(s / 86400), 'd'],
    [Math.floor(s / 3600) % 24, 'h'],
    [Math.floor(s / 60) % 60, 'min'],
    [s % 60, 's'],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ');
}

/** Millions with three digits: 2,570, 860, 0.654. */
export const millions = (value: number): string => Number((value / 1e6).toPrecision(3)).toLocaleString('en');

/** 3.1 M, 860 M, 12 k. */
export function large(value: number): string {
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const)
    if (value >= size) return `${Number((value / size).toPrecision(value / size < 100 ? 2 : 3))} ${unit}`;
  return String(value);
}
