// The rows of a label's page: a cluster or a list each, with its tiles, which arrow keys go along.
'use strict';

diffmine.rows = (page) => {
  const { LISTS, h, count, signed } = diffmine.tools;

  function clusterGroups(data) {
    const most = Math.max(...data.clusters.map(({ median }) => Math.abs(median)), Number.MIN_VALUE);
    return data.clusters.map((cluster, place) => ({
      key: String(cluster.number),
      title: `Cluster ${cluster.number}`,
      place: `cluster ${cluster.number}`,
      tiles: cluster.members,
      lines: { wide: 1, narrow: 2 },
      about: [
        h('p', null, count(cluster.size, 'patch', 'patches')),
        h('p', null, 'median typicality ', h('span', { class: 'value' }, signed(cluster.median))),
        meter(cluster.median / most),
        ...evidenceOf(cluster),
        diffmine.profile(page.run, page.state.label, place),
      ],
    }));
  }

  /** How well the cluster tells its label on images it was not learned from. */
  function evidenceOf({ evidence }) {
    if (!evidence) return [];
    const [value, low, high] = evidence.auroc.map((figure) => figure.toFixed(2));
    return [
      h(
        'p',
        { title: 'How often an image of the label matches this cluster better than an image of another label' },
        'AUROC ',
        h('span', { class: 'value' }, value),
        ' ',
        h('span', { class: 'interval' }, `[${low}, ${high}]`),
      ),
      evidence.separates ? null : h('p', { class: 'doubt' }, 'not shown to separate the label'),
    ].filter((element) => element !== null);
  }

  function listGroups(data) {
    return LISTS.flatMap((key) => {
      const { name, about } = page.run.words.lists[key];
      const { total, shown } = data.lists[key];
      if (total === 0) return [];
      const values = shown.map((tile) => data.patches.typicality[tile]);
      const like = Math.max(...values.map(Math.abs)) || 1;
      const [first, last] =
        key === 'top' || key === 'diverse'
          ? [Math.max(...values), Math.min(...values)]
          : [Math.min(...values), Math.max(...values)];
      return [
        {
          key,
          title: name,
          place: name.toLowerCase(),
          tiles: shown,
          lines: { wide: 4, narrow: 5 },
          about: [
            h('p', { class: 'hint' }, about),
            h(
              'p',
              null,
              shown.length < total
                ? `first ${shown.length.toLocaleString('en')} of ${total.toLocaleString('en')}`
                : count(total, 'patch', 'patches'),
            ),
            h('p', null, 'from ', h('span', { class: 'value' }, signed(first, like))),
            h('p', null, 'to ', h('span', { class: 'value' }, signed(last, like))),
          ],
        },
      ];
    });
  }

  function meter(fraction) {
    const bar = h('i', { class: fraction < 0 ? 'below' : null });
    bar.style.width = `${Math.max(2, Math.abs(fraction) * 100)}%`;
    return h('div', { class: 'meter', 'aria-hidden': 'true' }, bar);
  }

  function rowOf(group, data) {
    group.expanded = false;
    group.more = h('button', {
      class: 'more',
      type: 'button',
      onclick: () => {
        group.expanded = !group.expanded;
        fillRow(group, data);
        if (!group.expanded) group.row.scrollIntoView({ block: 'nearest' });
      },
    });
    group.grid = h('div', { class: 'tiles', role: 'group', 'aria-label': `${group.title}, patches` });
    group.row = h(
      'section',
      { class: 'row', 'aria-label': group.title },
      h('div', { class: 'about' }, h('h3', null, group.title), ...group.about.filter(Boolean), group.more),
      group.grid,
    );
    return group.row;
  }

  const narrow = matchMedia('(max-width: 760px)');
  let columns = 0;

  /** Fills all rows for the width there is; again when that changed how many tiles fit beside each other. */
  function fillRows(always) {
    const grid = page.groups[0]?.grid;
    if (!grid) return;
    const fit = getComputedStyle(grid).gridTemplateColumns.split(' ').length;
    if (fit === columns && !always) return;
    columns = fit;
    const { data } = page;
    for (const group of page.groups) fillRow(group, data);
  }

  function fillRow(group, data) {
    const fit = columns * (narrow.matches ? group.lines.narrow : group.lines.wide);
    const n = group.expanded ? group.tiles.length : Math.min(fit, group.tiles.length);
    while (group.grid.children.length > n) group.grid.lastChild.remove();
    for (let at = group.grid.children.length; at < n; at++) group.grid.append(tileOf(group, at, data));
    if (![...group.grid.children].some((tile) => tile.tabIndex === 0) && group.grid.firstChild)
      group.grid.firstChild.tabIndex = 0;
    group.more.hidden = group.tiles.length <= fit;
    group.more.textContent = group.expanded ? 'Show fewer' : `Show all ${group.tiles.length.toLocaleString('en')}`;
    group.more.setAttribute('aria-expanded', String(group.expanded));
    group.more.setAttribute('aria-label', `${group.more.textContent} of ${group.place}`);
  }

  function tileOf(group, at, data) {
    const tile = group.tiles[at];
    const { patches } = data;
    const file = data.images[patches.image[tile]][1];
    const words = `${file}, typicality ${signed(patches.typicality[tile])}`;
    const element = h('button', {
      class: 'tile',
      type: 'button',
      tabindex: '-1',
      title: words,
      'aria-label': `Patch ${at + 1} of ${group.place}: ${words}`,
      onclick: () => page.go({ ...page.state, group: group.key, rank: patches.rank[tile] }),
      onfocus: () => {
        for (const other of group.grid.children) other.tabIndex = other === element ? 0 : -1;
      },
      onkeydown: (event) => step(event, group, at),
    });
    paintTile(element, tile, data);
    return element;
  }

  /** Shows a tile of its sprite sheet, at whatever size the element has. */
  function paintTile(element, tile, data) {
    if (data.images[data.patches.image[tile]][5] === 0) {
      element.classList.add('gone');
      return;
    }
    page.tiles.paint(
      element,
      page.run.labels.findIndex(({ label }) => label === data.label),
      tile,
      data.patches.rank.length,
    );
  }

  /** Arrow keys among tiles: along the row, and from row to row. */
  function step(event, group, at) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const tiles = group.grid.children;
    const row = page.groups.indexOf(group);
    const column = at % columns;
    const beside = (other, last) => {
      const all = other?.grid.children;
      if (!all?.length) return undefined;
      const first = last ? Math.floor((all.length - 1) / columns) * columns : 0;
      return all[Math.min(first + column, all.length - 1)];
    };
    const target = {
      ArrowRight: () => tiles[at + 1],
      ArrowLeft: () => tiles[at - 1],
      ArrowDown: () => tiles[at + columns] ?? beside(page.groups[row + 1], false),
      ArrowUp: () => tiles[at - columns] ?? beside(page.groups[row - 1], true),
      Home: () => tiles[0],
      End: () => tiles[tiles.length - 1],
    }[event.key]?.();
    if (!target) return;
    event.preventDefault();
    target.focus();
  }

  return { clusterGroups, listGroups, rowOf, fillRows, fillRow, paintTile };
};
