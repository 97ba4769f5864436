// The report's page. Data comes through calls that its data files make: diffmine.run(run), diffmine.label(index, label), diffmine.map(map), diffmine.trends(trends).
/* global document, window, location, history, matchMedia, getComputedStyle, ResizeObserver, diffmine */
'use strict';

(() => {
  const { LISTS, $, h, count, signed, paragraphs } = diffmine.tools;
  const MANY = 16; // labels, from which tabs wrap and can be searched

  const labels = new Map(); // index -> label data
  let run;
  /** what is on show: label (index), view ('clusters' or 'ranking'), group and rank of the open patch */
  let state = {};
  let groups = []; // of the view on show: { key, title, tiles, grid, expanded, ... }
  /** what the parts of the page share */
  const page = {
    get run() {
      return run;
    },
    get state() {
      return state;
    },
    get groups() {
      return groups;
    },
    go,
    leave,
    paintTile,
    viewFor: (index) => viewFor(index),
    tiles: null,
    basket: null,
    /** called when the basket changes */
    onBasket: null,
    /** of patch number `i` of the map */
    addressOf: (i) => {
      const { label, rank } = diffmine.patches;
      return { label: label[i], view: 'ranking', group: run.mine.rank, rank: rank[i] };
    },
  };
  const dialog = diffmine.patch(page);
  /** called when the page on show is left */
  let leaving = null;

  // ---------------------------------------------------------------------------------------------- addresses
  // #/overview, #/map, #/trends, #/image/12, #/evaluation, #label, #label/ranking, #label/3 (cluster), #label/3/17 (its patch of rank 17), #label/top/17

  function address({ label, view, group, rank, image }) {
    if (label === 'image') return `#/image/${image}`;
    if (typeof label === 'string') return `#/${label}`;
    const parts = [run.labels[label].label];
    if (group) parts.push(group);
    else if (view === 'ranking') parts.push('ranking');
    if (group && rank) parts.push(String(rank));
    return `#${parts.map(encodeURIComponent).join('/')}`;
  }

  function parse(hash) {
    const special = /^#\/(\w+)(?:\/(\d+))?$/.exec(hash);
    if (special?.[1] === 'image' && special[2] && run.map) return { label: 'image', image: Number(special[2]) };
    if (special && pages().some(([id]) => id === special[1])) return { label: special[1] };
    if (hash.length < 2) return { label: 'overview' };
    let parts;
    try {
      parts = hash.replace(/^#/, '').split('/').map(decodeURIComponent);
    } catch {
      parts = [];
    }
    const found = run.labels.findIndex(({ label }) => label === parts[0]);
    const label = Math.max(0, found);
    const isList = LISTS.includes(parts[1]);
    const group = found >= 0 && (isList || /^\d+$/.test(parts[1] ?? '')) ? parts[1] : null;
    const clusters = run.labels[label].clusters > 0;
    const view = !clusters || parts[1] === 'ranking' || isList ? 'ranking' : 'clusters';
    return { label, view, group, rank: group && /^\d+$/.test(parts[2] ?? '') ? Number(parts[2]) : null };
  }

  /** The pages beside the labels, before and after their tabs. */
  const pages = () => [
    ['overview', 'Overview'],
    ...(run.map ? [['map', 'Map']] : []),
    ...(diffmine.courses ? [['trends', 'Trends']] : []),
    ...(diffmine.evaluation ? [['evaluation', 'Evaluation']] : []),
  ];

  /** Goes to an address; `quietly` without a step in the history. */
  function go(next, quietly) {
    const hash = address(next);
    try {
      if (hash !== location.hash) history[quietly ? 'replaceState' : 'pushState'](null, '', hash);
    } catch {
      // a browser that gives pages from disk no addresses: everything else works
    }
    show(next);
  }

  // ---------------------------------------------------------------------------------------------- the run

  function showRun() {
    const { dataset, model, options } = run;
    const patches = run.labels.reduce((sum, label) => sum + label.patches, 0);
    const clusters = run.labels.reduce((sum, label) => sum + label.clusters, 0);
    const { words } = run;
    document.title = `${words.title} · diffmine report`;
    $('title').textContent = words.title;
    $('lede').textContent = words.lede;
    $('method').replaceChildren(...paragraphs(words.method));
    if (run.pilot) $('method').append(diffmine.pilot(run.pilot, options));
    if (words.notice) $('title').after(h('p', { class: 'notice control', id: 'notice' }, words.notice));
    const day = new Date(run.created);
    const facts = [
      ['Images', dataset.images.toLocaleString('en')],
      ['Patches shown', patches.toLocaleString('en')],
      ['Clusters', clusters.toLocaleString('en')],
      ['Model', model.name],
      ['Compared with', words.comparedWith],
      ['Samples per image', String(options.samples)],
      [
        'Scanned',
        Number.isNaN(day.getTime())
          ? run.created
          : day.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' }),
      ],
    ];
    $('facts').replaceChildren(
      ...facts.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
    );
    if (run.confounds) $('facts').after(...diffmine.confounds(run.confounds, $('method')));
    if (run.missing.count > 0) {
      $('facts').after(
        h(
          'p',
          { class: 'notice' },
          run.missing.count === 1
            ? 'One image was not found when this report was written. Its patches are hatched; the end of the page names it.'
            : `${run.missing.count.toLocaleString('en')} images were not found when this report was written. Their patches are hatched; the end of the page lists them.`,
        ),
      );
    }
    if (diffmine.evaluation) {
      $('facts').after(
        h(
          'p',
          { class: 'gist' },
          diffmine.evaluation.gist ? `${diffmine.evaluation.gist}. ` : null,
          h(
            'button',
            { class: 'more', type: 'button', onclick: () => go({ label: 'evaluation' }) },
            'See the evaluation',
          ),
        ),
      );
    }
    showTabs();
    diffmine.foot(run);
  }

  function showTabs() {
    const many = run.labels.length >= MANY;
    $('bar').classList.toggle('many', many);
    $('find').hidden = !many;
    const tab = (id, kind, name, onclick) =>
      h(
        'button',
        {
          class: `tab${kind}`,
          type: 'button',
          role: 'tab',
          id: `tab-${id}`,
          'aria-controls': 'panel',
          title: name,
          tabindex: '-1',
          onclick,
        },
        name,
      );
    const special = pages().map(([id, name]) => tab(id, ' apart', name, () => go({ label: id })));
    $('tabs').replaceChildren(
      ...special.filter(({ id }) => id !== 'tab-evaluation'),
      ...run.labels.map(({ label, patches }, index) =>
        tab(index, patches ? '' : ' empty', label, () => go({ label: index, view: viewFor(index) })),
      ),
    );
    $('tabs').append(...special.filter(({ id }) => id === 'tab-evaluation'));
    $('tabs').addEventListener('keydown', (event) => {
      const seen = [...$('tabs').children].filter((tab) => !tab.hidden);
      const at = seen.indexOf(document.activeElement);
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: seen.length - 1 }[event.key];
      if (next === undefined || at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const tab = seen[(next + seen.length) % seen.length];
      tab.focus();
      tab.click();
    });
    $('filter').addEventListener('input', () => {
      const wanted = $('filter').value.trim().toLocaleLowerCase();
      let seen = 0;
      for (const tab of $('tabs').children) {
        tab.hidden = !tab.textContent.toLocaleLowerCase().includes(wanted);
        if (!tab.hidden) seen++;
      }
      $('nomatch').hidden = seen > 0;
      rove();
    });
    $('filter').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== 'ArrowDown') return;
      const first = [...$('tabs').children].find((tab) => !tab.hidden);
      if (!first) return;
      event.preventDefault();
      first.focus();
      if (event.key === 'Enter') first.click();
    });
    $('bar').hidden = false;
  }

  /** One tab can be reached with the Tab key: the selected one, or the first that the filter leaves. */
  function rove() {
    const tabs = [...$('tabs').children];
    const selected = $(`tab-${state.label === 'image' ? 'map' : state.label}`);
    const stop = selected && !selected.hidden ? selected : tabs.find((tab) => !tab.hidden);
    tabs.forEach((tab) => {
      tab.tabIndex = tab === stop ? 0 : -1;
      tab.setAttribute('aria-selected', String(tab === selected));
    });
  }

  /** A new label is shown in the view that is on. */
  const viewFor = (index) => (state.view === 'ranking' || run.labels[index].clusters === 0 ? 'ranking' : 'clusters');

  // ---------------------------------------------------------------------------------------------- one label

  function show(next) {
    const old = state;
    state = next;
    const entering = old.label !== next.label || old.image !== next.image;
    if (entering) {
      leaving?.();
      leaving = null;
      rove();
      const tab = $(`tab-${next.label === 'image' ? 'map' : next.label}`);
      $('panel').setAttribute('aria-labelledby', tab.id);
      const { offsetLeft, offsetTop, offsetWidth, offsetHeight, offsetParent } = tab;
      const strip = $('tabs');
      if (offsetParent)
        strip.scrollTo({
          left: offsetLeft - strip.offsetLeft - (strip.clientWidth - offsetWidth) / 2,
          top: offsetTop - strip.offsetTop - (strip.clientHeight - offsetHeight) / 2,
        });
    }
    if (typeof next.label === 'string') {
      dialog.close();
      groups = [];
      if (!entering) return;
      showPage(next);
      if (old.label !== undefined && $('panel').getBoundingClientRect().top < 0)
        window.scrollTo({ top: $('bar').offsetTop });
      return;
    }
    const data = labels.get(next.label);
    if (!data) {
      dialog.close();
      groups = [];
      $('panel').replaceChildren(h('p', { class: 'sub' }, 'Loading…'));
      load(next.label);
      return;
    }
    if (entering || old.view !== next.view || groups.length === 0) showLabel(data);
    const group = next.group && groups.find(({ key }) => key === next.group);
    const at = group && next.rank ? group.tiles.findIndex((tile) => data.patches.rank[tile] === next.rank) : -1;
    if (at >= 0) dialog.open(data, group, at);
    else {
      dialog.close();
      if (group && !next.rank) group.row.scrollIntoView({ block: 'start' });
      else if (entering && old.label !== undefined && $('panel').getBoundingClientRect().top < 0)
        window.scrollTo({ top: $('bar').offsetTop });
    }
  }

  /** One of the pages beside the labels. */
  function showPage(next) {
    const make = {
      overview: () => diffmine.overview(page),
      trends: () => diffmine.courses(page),
      evaluation: () => diffmine.evaluation.elements(),
      image: () => diffmine.image(page, diffmine.patches, next.image),
    }[next.label];
    const needed = { map: ['leaflet.js', 'data/map.js'], image: ['data/map.js'] }[next.label] ?? [];
    const missing = needed.filter((file) => !scripts.has(file));
    if (missing.length > 0) {
      $('panel').replaceChildren(h('p', { class: 'sub' }, 'Loading…'));
      const [file] = missing;
      // the same page may have been asked for again meanwhile
      const asked = () => state.label === next.label && state.image === next.image;
      script(file, () => asked() && showPage(state), asked);
      return;
    }
    if (next.label !== 'map') {
      $('panel').replaceChildren(...make());
      return;
    }
    const { elements, shown, left } = diffmine.mapPage(page);
    $('panel').replaceChildren(...elements.filter(Boolean));
    shown();
    leaving = left;
  }

  const scripts = new Set();
  /** Loads a script of the report; where it is missing, says so if `asked()`. */
  function script(file, loaded, asked) {
    const element = document.createElement('script');
    element.src = file;
    element.onload = () => {
      element.remove();
      scripts.add(file);
      loaded();
    };
    element.onerror = () => {
      if (asked())
        $('panel').replaceChildren(
          h('p', { class: 'notice' }, `${file} is missing. Copy the whole report folder, not only index.html.`),
        );
    };
    document.head.append(element);
  }

  function load(index) {
    script(
      `data/label-${index}.js`,
      () => state.label === index && show(state),
      () => state.label === index,
    );
  }

  function showLabel(data) {
    const known = run.labels[state.label];
    const change = (view) => () => state.view !== view && go({ label: state.label, view });
    const button = (view, name) =>
      h('button', { type: 'button', 'aria-pressed': String(state.view === view), onclick: change(view) }, name);
    const focused = document.activeElement?.closest('.switch') !== null && document.activeElement !== document.body;
    groups = state.view === 'clusters' ? clusterGroups(data) : listGroups(data);
    $('panel').replaceChildren(
      h(
        'div',
        { class: 'head' },
        h(
          'div',
          null,
          h('h2', null, data.label),
          h(
            'p',
            { class: 'sub' },
            known.made,
            data.prompt !== null && known.patches > 0 ? ` · prompt “${data.prompt}”` : '',
          ),
          known.warning ? h('p', { class: 'notice warning' }, known.warning) : null,
        ),
        known.clusters
          ? h(
              'div',
              { class: 'switch', role: 'group', 'aria-label': 'View' },
              button('clusters', 'Clusters'),
              button('ranking', 'Ranking'),
            )
          : null,
      ),
      ...groups.map((group) => rowOf(group, data)),
    );
    if (focused) $('panel').querySelector('.switch [aria-pressed="true"]')?.focus();
    fillRows(true);
  }

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
        diffmine.profile(run, state.label, place),
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
      const { name, about } = run.words.lists[key];
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
    const grid = groups[0]?.grid;
    if (!grid) return;
    const fit = getComputedStyle(grid).gridTemplateColumns.split(' ').length;
    if (fit === columns && !always) return;
    columns = fit;
    const data = labels.get(state.label);
    for (const group of groups) fillRow(group, data);
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
      onclick: () => go({ ...state, group: group.key, rank: patches.rank[tile] }),
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
      run.labels.findIndex(({ label }) => label === data.label),
      tile,
      data.patches.rank.length,
    );
  }

  /** Arrow keys among tiles: along the row, and from row to row. */
  function step(event, group, at) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const tiles = group.grid.children;
    const row = groups.indexOf(group);
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
      ArrowDown: () => tiles[at + columns] ?? beside(groups[row + 1], false),
      ArrowUp: () => tiles[at - columns] ?? beside(groups[row - 1], true),
      Home: () => tiles[0],
      End: () => tiles[tiles.length - 1],
    }[event.key]?.();
    if (!target) return;
    event.preventDefault();
    target.focus();
  }

  // ---------------------------------------------------------------------------------------------- from the dialog back

  /** Closes the dialog for the user: the address goes back to the label, the focus to the patch. */
  function leave() {
    const { group: key, rank } = state;
    go({ label: state.label, view: state.view }, true);
    const group = groups.find((one) => one.key === key);
    const data = labels.get(state.label);
    const at = group?.tiles.findIndex((tile) => data.patches.rank[tile] === rank) ?? -1;
    if (at < 0) return;
    if (at >= group.grid.children.length) {
      group.expanded = true;
      fillRow(group, data);
    }
    group.grid.children[at].focus();
  }

  // ---------------------------------------------------------------------------------------------- start

  Object.assign(diffmine, {
    run(data) {
      run = data;
      page.tiles = diffmine.tiles(run.sheet);
      page.basket = diffmine.basket(run.fingerprint, run.root, () => page.onBasket?.());
      if (run.labels.length === 0) {
        $('panel').replaceChildren(h('p', { class: 'notice' }, 'This run has no labels.'));
        return;
      }
      showRun();
      show(parse(location.hash));
    },
    label(index, data) {
      labels.set(index, data);
    },
  });

  window.addEventListener('popstate', () => run && show(parse(location.hash)));
  new ResizeObserver(() => fillRows(false)).observe($('panel'));
  $('skip').addEventListener('click', (event) => {
    event.preventDefault();
    $('panel').focus();
  });
  setTimeout(() => {
    if (!run)
      $('panel').replaceChildren(
        h('p', { class: 'notice' }, 'data/run.js is missing. Copy the whole report folder, not only index.html.'),
      );
  }, 3000);
})();
