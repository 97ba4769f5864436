// Figures with their intervals: bars beside each other in cards, and cells of tables.
'use strict';

diffmine.figures = (() => {
  const { h } = diffmine.tools;

  const number = (value, digits) => (value === null || value === undefined ? '–' : value.toFixed(digits));

  /** A bar for each of `rows`, [name, { value, low, high }]; the first is the one that the page is about. */
  function card(title, about, rows, digits) {
    const most = Math.max(...rows.flatMap(([, { value, high }]) => [value ?? 0, high ?? 0]), 1e-9);
    const percent = (value) => `${(100 * Math.max(0, value)) / most}%`;
    return h(
      'section',
      { class: 'card' },
      h('h3', null, title),
      h('p', { class: 'hint' }, about),
      h(
        'dl',
        { class: 'bars' },
        ...rows.map(([name, { value, low, high }], index) => {
          const bar = h('i', { class: index === 0 ? 'ours' : null });
          bar.style.width = percent(value ?? 0);
          const track = h('span', { class: 'track', 'aria-hidden': 'true' }, bar);
          if (low !== null) {
            const whisker = h('b');
            whisker.style.left = percent(low);
            whisker.style.width = percent(high - low);
            track.append(whisker);
          }
          return h(
            'div',
            null,
            h('dt', null, name),
            h(
              'dd',
              null,
              track,
              h('span', { class: 'value' }, number(value, digits)),
              h('small', null, low === null ? '' : `${number(low, digits)}–${number(high, digits)}`),
            ),
          );
        }),
      ),
    );
  }

  /** A figure with its interval beneath it; with `sign` it always has one. */
  function cell(figure, digits, sign = false) {
    const { value, low, high } = figure ?? { value: null, low: null, high: null };
    const words = (one) =>
      sign && one !== null && one !== undefined
        ? `${one < 0 ? '−' : '+'}${Math.abs(one).toFixed(digits)}`
        : number(one, digits);
    return h(
      'td',
      null,
      words(value),
      low === null ? null : h('small', null, `${words(low)}${sign ? ' to ' : '–'}${words(high)}`),
    );
  }

  return { number, card, cell };
})();
