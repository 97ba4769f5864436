// What the parts of pages share: making elements and writing numbers.
// Whatever a user named (labels, files, prompts) enters the page as text nodes and attributes' values, never as markup.
'use strict';

(() => {
  /** The lists of a ranking, in the order of the page. */
  const LISTS = ['top', 'diverse', 'random', 'bottom'];

  const $ = (id) => document.getElementById(id);

  /** An element. `on…` adds a listener; true, false and null are attributes with no value, and none. */
  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null && value !== undefined)
        element.setAttribute(name, value === true ? '' : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function icon(path) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    const shape = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    shape.setAttribute('d', path);
    svg.append(shape);
    return svg;
  }

  /** An element of a drawing. */
  function svg(tag, attributes, ...children) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    element.append(...children);
    return element;
  }

  /** [{ lead, text }]: paragraphs, some with a bold word in front. */
  const paragraphs = (list) =>
    list.map(({ lead, text }) => h('p', null, lead ? h('strong', null, lead) : null, lead ? ' ' : null, text));

  /** Text that may hold a label's long name. */
  const clip = (text, most = 40) => {
    // by characters: half an emoji is no text
    const characters = [...text];
    return characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : text;
  };

  const count = (n, one, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

  /** Three significant digits of `value` (or as many places as `like` has), without an exponent where that is short. */
  function plain(value, like = value) {
    const size = Math.abs(value);
    if (size === 0) return '0';
    if (like === value && (size < 1e-5 || size >= 1e6)) {
      const [digits, power] = size.toExponential(2).split('e');
      return `${digits} × 10${Array.from(String(Number(power)), (c) => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c])).join('')}`;
    }
    return size.toFixed(Math.max(0, Math.min(7, 2 - Math.floor(Math.log10(Math.abs(like))))));
  }
  const signed = (value, like) => (value < 0 ? '−' : '+') + plain(value, like);
  const tenths = (value) => String(Math.round(value * 10) / 10);

  globalThis.diffmine = { tools: { LISTS, $, h, svg, icon, paragraphs, clip, count, plain, signed, tenths } };
})();
