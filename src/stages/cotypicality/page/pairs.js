// Label by label: how much each pair of labels changes at the co-typical places, and which clusters change most between two.
'use strict';

/** @param page { run, tile(place, label, onclick), dialog } */
diffmine.pairs = (page) => {
  const { h } = diffmine.tools;
  const { run } = page;
  const SHOWN = 12; // clusters of a pair
  const STRIP = 8; // places of a cluster
  const times = (value) => `× ${value.toFixed(2)}`;
  let chosen = run.pairs.reduce((most, pair, index) => (pair.change > run.pairs[most].change ? index : most), 0);

  function grid(pick) {
    const values = run.pairs.map(({ change }) => change);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const cell = (a, b) => {
      const index = run.pairs.findIndex((pair) => (pair.a === a && pair.b === b) || (pair.a === b && pair.b === a));
      if (index < 0) return h('td', { class: 'self' });
      const { change } = run.pairs[index];
      const fraction = high > low ? (change - low) / (high - low) : 0.5;
      const button = h(
        'button',
        {
          type: 'button',
          class: fraction > 0.55 ? 'deep' : null,
          'aria-pressed': String(index === chosen),
          'aria-label': `${run.labels[a]} and ${run.labels[b]}: ${times(change)}`,
          onclick: () => pick(index, a, b),
        },
        change.toFixed(2),
      );
      button.style.setProperty('--share', `${Math.round(10 + 90 * fraction)}%`);
      return h('td', null, button);
    };
    return h(
      'div',
      { class: 'scroll' },
      h(
        'table',
        { class: 'grid' },
        h(
          'thead',
          null,
          h('tr', null, h('td'), ...run.labels.map((label) => h('th', { scope: 'col', title: label }, label))),
        ),
        h(
          'tbody',
          null,
          ...run.labels.map((label, a) =>
            h('tr', null, h('th', { scope: 'row', title: label }, label), ...run.labels.map((_, b) => cell(a, b))),
          ),
        ),
      ),
    );
  }

  function ranked() {
    const { a, b, change, clusters } = run.pairs[chosen];
    const order = clusters
      .map((value, cluster) => ({ value, cluster }))
      .filter(({ value }) => value !== null)
      .sort((one, other) => other.value - one.value);
    const most = Math.max(...order.map(({ value }) => value), Number.MIN_VALUE);
    return h(
      'section',
      null,
      h('h2', null, `${run.labels[a]} and ${run.labels[b]}`),
      h(
        'p',
        { class: 'sub' },
        `Between these two labels, co-typical places change ${change.toFixed(2)} times as much as random ones. Clusters are sorted by change.`,
      ),
      h(
        'div',
        { class: 'ranked' },
        ...order.slice(0, SHOWN).map(({ value, cluster }) => {
          const bar = h('i');
          bar.style.width = `${Math.max(2, (100 * value) / most)}%`;
          const members = run.shown[cluster];
          const group = { title: `Cluster ${cluster}`, members };
          return h(
            'div',
            { class: 'change' },
            h(
              'div',
              { class: 'about' },
              h('h3', null, `Cluster ${cluster}`),
              h('p', null, h('span', { class: 'value' }, times(value)), ' of random places'),
              h('div', { class: 'meter', 'aria-hidden': 'true' }, bar),
            ),
            h(
              'div',
              { class: 'two' },
              ...members
                .slice(0, STRIP)
                .map((place, at) =>
                  h('div', null, ...[a, b].map((label) => page.tile(place, label, () => page.dialog.open(group, at)))),
                ),
            ),
          );
        }),
      ),
    );
  }

  return function elements() {
    const holder = h('div', { class: 'pairs' });
    const draw = () => {
      holder.replaceChildren(
        h(
          'section',
          null,
          h('h2', null, 'What changes most between two labels'),
          h(
            'p',
            { class: 'sub' },
            'Feature distance at co-typical places as a multiple of the distance at random places. Select a pair.',
          ),
          grid((index, a, b) => {
            chosen = index;
            draw();
            [...holder.querySelectorAll('.grid tbody tr')][a]?.children[b + 1]?.firstElementChild?.focus();
          }),
        ),
        ranked(),
      );
    };
    draw();
    return [holder];
  };
};
