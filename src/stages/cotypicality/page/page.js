// The page of consistent changes. Its data come through the call that data/run.js makes: diffmine.run(run).
'use strict';

(() => {
  const { $, h, count, paragraphs, signed } = diffmine.tools;
  const FIRST = 4; // sequences of a cluster and block before it is opened
  const [WIDTH, COLUMN] = [1044, 80]; // px of a row, and of a label's column (page.css)
  let run;
  let dialog;
  let pairs;

  /** A place under a label, cut from the sprite sheets. */
  function tile(place, label, onclick) {
    const { label: source, sizes, sequence } = run.places[place];
    const { columns, rows } = run.sheet;
    const number = place * run.labels.length + label;
    const within = number % (columns * rows);
    const kind = `tile${source === label ? ' source' : ''}${sizes[label] ? '' : ' gone'}`;
    const element = h('button', {
      class: kind,
      type: 'button',
      title: `${sequence} as ${run.labels[label]}${source === label ? ' (source)' : ''}`,
      'aria-label': `${sequence} as ${run.labels[label]}${source === label ? ', the source' : ''}`,
      onclick,
    });
    if (sizes[label]) {
      const total = run.places.length * run.labels.length;
      const sheet = Math.floor(number / (columns * rows));
      const down = Math.ceil(Math.min(columns * rows, total - sheet * columns * rows) / columns);
      const [x, y] = [within % columns, Math.floor(within / columns)];
      element.style.backgroundImage = `url("sprites/${sheet}.webp")`;
      element.style.backgroundSize = `${100 * columns}% ${100 * down}%`;
      element.style.backgroundPosition = `${(100 * x) / Math.max(1, columns - 1)}% ${(100 * y) / Math.max(1, down - 1)}%`;
    }
    return element;
  }

  function clusterRow(cluster, index, most) {
    const members = run.shown[index];
    const group = { title: `Cluster ${index}`, members };
    const bar = h('i', { class: cluster.medianCotypicality < 0 ? 'below' : null });
    bar.style.width = `${Math.max(2, (100 * Math.abs(cluster.medianCotypicality)) / most)}%`;
    // few labels leave room for more than one sequence beside another
    const blocks = Math.max(
      1,
      Math.min(Math.floor(WIDTH / (COLUMN * run.labels.length + 24)), Math.ceil(members.length / FIRST)),
    );
    const head = () =>
      h('thead', null, h('tr', null, ...run.labels.map((label) => h('th', { scope: 'col', title: label }, label))));
    const holder = h('div', { class: 'blocks' });
    const fill = (shown) => {
      const each = Math.ceil(shown / blocks);
      const row = (place, at) =>
        h(
          'tr',
          null,
          ...run.labels.map((_, label) =>
            h(
              'td',
              null,
              tile(place, label, () => dialog.open(group, at)),
            ),
          ),
        );
      holder.replaceChildren(
        ...Array.from({ length: Math.ceil(shown / each) }, (_, block) =>
          h(
            'table',
            { class: 'rows' },
            head(),
            h(
              'tbody',
              null,
              ...members
                .slice(block * each, Math.min(shown, (block + 1) * each))
                .map((place, i) => row(place, block * each + i)),
            ),
          ),
        ),
      );
    };
    const first = Math.min(members.length, FIRST * blocks);
    fill(first);
    const more =
      members.length > first
        ? h(
            'button',
            {
              class: 'more',
              type: 'button',
              'aria-expanded': 'false',
              onclick: () => {
                const open = more.getAttribute('aria-expanded') !== 'true';
                more.setAttribute('aria-expanded', String(open));
                more.textContent = open ? 'Show fewer' : `Show ${members.length} sequences`;
                fill(open ? members.length : first);
              },
            },
            `Show ${members.length} sequences`,
          )
        : null;
    const { mostChanged } = cluster;
    return h(
      'section',
      { class: 'cluster' },
      h(
        'div',
        { class: 'about' },
        h('h3', null, `Cluster ${index}`),
        h('p', null, `${count(cluster.size, 'place')} of ${count(cluster.sequences, 'sequence')}`),
        h('p', null, 'median co-typicality ', h('span', { class: 'value' }, signed(cluster.medianCotypicality))),
        h('div', { class: 'meter', 'aria-hidden': 'true' }, bar),
        mostChanged
          ? h(
              'p',
              null,
              `changes most: ${mostChanged.labels.join(' – ')}, `,
              h('span', { class: 'value' }, `× ${mostChanged.change.toFixed(2)}`),
            )
          : null,
      ),
      h('div', null, h('div', { class: 'scroll' }, holder), more),
    );
  }

  function clusters() {
    const most = Math.max(
      ...run.clusters.map(({ medianCotypicality }) => Math.abs(medianCotypicality)),
      Number.MIN_VALUE,
    );
    return [
      h('p', { class: 'key' }, h('i'), 'the image that the sequence was made from'),
      ...run.clusters.map((cluster, index) => clusterRow(cluster, index, most)),
    ];
  }

  const NAMES = { slot: 'slot', kind: 'kind', typicalOf: 'typical of' };
  const LISTS = { top: 'co-typical', random: 'random' };
  function truth() {
    const { boxes, columns } = run.truth;
    const rows = Object.entries(columns).flatMap(([column, lists]) =>
      Object.entries(lists).map(([list, of]) =>
        h(
          'tr',
          null,
          h('td', null, NAMES[column] ?? column),
          h('td', null, LISTS[list] ?? list),
          ...[
            of.places,
            ...[of.onElement, of.purity, of.chance, of.purityOnElements, of.chanceOnElements].map((value) =>
              value.toFixed(2),
            ),
          ].map((value) => h('td', null, String(value))),
        ),
      ),
    );
    return [
      h('h2', null, 'Comparison with boxes'),
      h(
        'p',
        { class: 'prose' },
        `Clusters compared with ${boxes}. A place is on the element whose box it hits in the source image. Purity is the fraction of places whose element is the most common one in their cluster; a place on no element counts as a miss. `,
        'Chance: the purity after shuffling the elements. Random places are clustered in the same way, as a control. The last two columns are for places on elements only.',
      ),
      h(
        'div',
        { class: 'scroll' },
        h(
          'table',
          { class: 'truth' },
          h(
            'thead',
            null,
            h(
              'tr',
              null,
              ...[
                'Element',
                'Places',
                'Number',
                'On an element',
                'Purity',
                'Chance',
                'Purity on elements',
                'Chance',
              ].map((name) => h('th', { scope: 'col' }, name)),
            ),
          ),
          h('tbody', null, ...rows),
        ),
      ),
    ];
  }

  function show(view) {
    const views = { clusters, pairs, truth };
    [...$('tabs').children].forEach((tab) => {
      const selected = tab.dataset.view === view;
      tab.setAttribute('aria-selected', String(selected));
      tab.tabIndex = selected ? 0 : -1;
      if (selected) $('panel').setAttribute('aria-labelledby', tab.id);
    });
    $('panel').replaceChildren(...views[view]());
  }

  function go(view) {
    try {
      history.replaceState(null, '', `#${view}`);
    } catch {
      // a browser that gives pages from disk no addresses: everything else works
    }
    show(view);
    if ($('panel').getBoundingClientRect().top < 0) window.scrollTo({ top: $('bar').offsetTop });
  }

  diffmine.run = (data) => {
    run = data;
    dialog = diffmine.sequence(run);
    pairs = diffmine.pairs({ run, tile, dialog });
    document.title = `${run.parallel.name} · consistent changes`;
    $('title').textContent = `Consistent changes in ${run.parallel.name}`;
    $('lede').textContent = run.words.lede;
    $('method').replaceChildren(...paragraphs(run.words.method));
    const day = new Date(run.created);
    const facts = [
      ['Sequences', (run.parallel.sequences - run.skipped.count).toLocaleString('en')],
      ['Labels', String(run.labels.length)],
      ['Places grouped', run.grouped.toLocaleString('en')],
      ['Clusters', String(run.clusters.length)],
      ['Model', run.model.name],
      ['Compared with', run.words.comparedWith],
      ['Samples per image', String(run.options.samples)],
      [
        'Scored',
        Number.isNaN(day.getTime())
          ? run.created
          : day.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' }),
      ],
    ];
    $('facts').replaceChildren(
      ...facts.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
    );
    const views = [
      ['clusters', 'Clusters'],
      ['pairs', 'Label by label'],
      ...(run.truth ? [['truth', 'Comparison with boxes']] : []),
    ];
    $('tabs').replaceChildren(
      ...views.map(([view, name]) =>
        h(
          'button',
          {
            class: 'tab',
            type: 'button',
            role: 'tab',
            id: `tab-${view}`,
            'data-view': view,
            'aria-controls': 'panel',
            onclick: () => go(view),
          },
          name,
        ),
      ),
    );
    $('tabs').addEventListener('keydown', (event) => {
      const tabs = [...$('tabs').children];
      const next = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!next) return;
      const tab = tabs[(tabs.indexOf(document.activeElement) + next + tabs.length) % tabs.length];
      tab.focus();
      tab.click();
    });
    $('bar').hidden = false;
    diffmine.foot(run);
    const asked = location.hash.slice(1);
    show(views.some(([view]) => view === asked) ? asked : 'clusters');
  };
})();
