// The end of a page: its settings, what was left out of it, and where the method is from.
'use strict';

diffmine.settings = (() => {
  const { h } = diffmine.tools;

  const said = (value) =>
    value === null || value === undefined || value === ''
      ? 'none'
      : value === true
        ? 'yes'
        : value === false
          ? 'no'
          : typeof value === 'object'
            ? JSON.stringify(value)
            : String(value);

  /** The name of an option in words: those of `names`, or its own. */
  const words = (name, names = {}) =>
    names[name] ?? name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/^./, (c) => c.toUpperCase());

  /** [name, value] in columns. */
  const list = (entries) =>
    h(
      'dl',
      { class: 'settings' },
      ...entries.map(([name, value]) =>
        h('div', { class: said(value).length > 34 ? 'wide' : null }, h('dt', null, name), h('dd', null, said(value))),
      ),
    );

  const section = (title, ...children) => h('section', null, h('h2', null, title), ...children);

  /** Images that were left out, and why; `file` has all of them. */
  function excluded({ count: total, shown }, summary, file) {
    if (total === 0) return null;
    return h(
      'details',
      null,
      h('summary', null, summary),
      h(
        'ul',
        { class: 'list', tabindex: '0', 'aria-label': summary },
        ...shown.map(({ image, reason }) => h('li', null, h('b', null, image), `: ${reason}`)),
        total > shown.length
          ? h('li', null, `and ${(total - shown.length).toLocaleString('en')} more${file ? `; see ${file}` : ''}`)
          : null,
      ),
    );
  }

  /** @param section of the paper, such as '5.1' */
  const method = (section) =>
    h(
      'p',
      null,
      `Ioannis Siglidis, Aleksander Holynski, Alexei A. Efros, Mathieu Aubry, Shiry Ginosar: Diffusion Models as Data Mining Tools. ECCV 2024, arXiv 2408.02752${section ? `, section ${section}` : ''}.`,
    );

  return { words, list, section, excluded, method };
})();
