// The report's page. Data comes through two calls that its data files make: diffmine.run(run) and diffmine.label(index, label).
// Whatever a user named (labels, files, prompts) enters the page as text nodes and attributes' values, never as markup.
/* global document, window, location, history, matchMedia, getComputedStyle, ResizeObserver, Image */
'use strict';

(() => {
  const LISTS = {
    top: { name: 'Most typical', about: 'the label helped the model most' },
    random: { name: 'Random', about: 'a control: places drawn at random' },
    least: { name: 'Least typical', about: 'a control: the label misled the model' },
  };
  const MANY = 16; // labels, from which tabs wrap and can be searched

  const $ = (id) => document.getElementById(id);
  const labels = new Map(); // index -> label data
  let run;
  /** what is on show: label (index), view ('clusters' or 'ranking'), group and rank of the open patch */
  let state = {};
  let groups = []; // of the view on show: { key, title, tiles, grid, expanded, ... }
  let warm = false; // whether the heat map is on

  // ---------------------------------------------------------------------------------------------- small tools

  /** An element. `on…` adds a listener; true, false and null are attributes with no value, and none. */
  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? '' : value);
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

  const count = (n, one, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

  /** Three significant digits of `value` (or as many places as `like` has), without an exponent where that is short. */
  function plain(value, like = value) {
    const size = Math.abs(value);
    if (size === 0) return '0';
    if (like === value && (size < 1e-5 || size >= 1e6)) {
      const [digits, power] = size.toExponential(2).split('e');
      return `${digits} × 10${[...String(Number(power))].map((c) => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c])).join('')}`;
    }
    return size.toFixed(Math.max(0, Math.min(7, 2 - Math.floor(Math.log10(Math.abs(like))))));
  }
  const signed = (value, like) => (value < 0 ? '−' : '+') + plain(value, like);
  const length = (value) => String(Math.round(value * 10) / 10);

  // ---------------------------------------------------------------------------------------------- addresses
  // #label, #label/ranking, #label/3 (cluster), #label/3/17 (its patch of rank 17), #label/top/17

  function address({ label, view, group, rank }) {
    const parts = [run.labels[label].label];
    if (group) parts.push(group);
    else if (view === 'ranking') parts.push('ranking');
    if (group && rank) parts.push(String(rank));
    return `#${parts.map(encodeURIComponent).join('/')}`;
  }

  function parse(hash) {
    let parts;
    try {
      parts = hash.replace(/^#/, '').split('/').map(decodeURIComponent);
    } catch {
      parts = [];
    }
    const found = run.labels.findIndex(({ label }) => label === parts[0]);
    const label = Math.max(0, found);
    const group = found >= 0 && (parts[1] in LISTS || /^\d+$/.test(parts[1] ?? '')) ? parts[1] : null;
    const clusters = run.labels[label].clusters > 0;
    const view = !clusters || parts[1] === 'ranking' || group in LISTS ? 'ranking' : 'clusters';
    return { label, view, group, rank: group && /^\d+$/.test(parts[2] ?? '') ? Number(parts[2]) : null };
  }

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
    document.title = `${dataset.name} · diffmine report`;
    $('title').textContent = dataset.name;
    $('lede').textContent =
      `What is typical of ${run.labels.length === 1 ? 'one label' : `each of ${run.labels.length} labels`}: the patches that a diffusion model ` +
      `denoises better when it knows the label, grouped by what they show.`;
    const day = new Date(run.created);
    const facts = [
      ['Pictures', dataset.images.toLocaleString('en')],
      ['Patches shown', patches.toLocaleString('en')],
      ['Clusters', clusters.toLocaleString('en')],
      ['Model', model.name],
      ['Samples a picture', String(options.samples)],
      ['Scanned', Number.isNaN(day.getTime()) ? run.created : day.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' })],
    ];
    $('facts').replaceChildren(...facts.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
    if (run.missing.count > 0) {
      $('facts').after(h('p', { class: 'notice' },
        run.missing.count === 1
          ? 'One picture was not found when this report was written. Its patches are hatched; the end of the page names it.'
          : `${run.missing.count.toLocaleString('en')} pictures were not found when this report was written. Their patches are hatched; the end of the page lists them.`));
    }
    showTabs();
    showFoot();
  }

  function showTabs() {
    const many = run.labels.length >= MANY;
    $('bar').classList.toggle('many', many);
    $('find').hidden = !many;
    $('tabs').replaceChildren(...run.labels.map(({ label, patches }, index) =>
      h('button', {
        class: patches ? 'tab' : 'tab empty', type: 'button', role: 'tab', id: `tab-${index}`, 'aria-controls': 'panel', title: label, tabindex: '-1',
        onclick: () => go({ label: index, view: viewFor(index) }),
      }, label)));
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
    const selected = tabs[state.label];
    const stop = selected && !selected.hidden ? selected : tabs.find((tab) => !tab.hidden);
    tabs.forEach((tab, index) => {
      tab.tabIndex = tab === stop ? 0 : -1;
      tab.setAttribute('aria-selected', String(index === state.label));
    });
  }

  /** A new label is shown in the view that is on. */
  const viewFor = (index) => (state.view === 'ranking' || run.labels[index].clusters === 0 ? 'ranking' : 'clusters');

  // ---------------------------------------------------------------------------------------------- one label

  function show(next) {
    const old = state;
    state = next;
    const entering = old.label !== next.label;
    if (entering) {
      rove();
      const tab = $(`tab-${next.label}`);
      $('panel').setAttribute('aria-labelledby', tab.id);
      const { offsetLeft, offsetTop, offsetWidth, offsetHeight, offsetParent } = tab;
      const strip = $('tabs');
      if (offsetParent) strip.scrollTo({ left: offsetLeft - strip.offsetLeft - (strip.clientWidth - offsetWidth) / 2, top: offsetTop - strip.offsetTop - (strip.clientHeight - offsetHeight) / 2 });
    }
    const data = labels.get(next.label);
    if (!data) {
      closeDialog();
      groups = [];
      $('panel').replaceChildren(h('p', { class: 'sub' }, 'Loading…'));
      load(next.label);
      return;
    }
    if (entering || old.view !== next.view || groups.length === 0) showLabel(data);
    const group = next.group && groups.find(({ key }) => key === next.group);
    const at = group && next.rank ? group.tiles.findIndex((tile) => data.patches.rank[tile] === next.rank) : -1;
    if (at >= 0) openDialog(data, group, at);
    else {
      closeDialog();
      if (group && !next.rank) group.row.scrollIntoView({ block: 'start' });
      else if (entering && old.label !== undefined && $('panel').getBoundingClientRect().top < 0) window.scrollTo({ top: $('bar').offsetTop });
    }
  }

  function load(index) {
    const script = document.createElement('script');
    script.src = `data/label-${index}.js`;
    script.onload = () => {
      script.remove();
      if (state.label === index) show(state);
    };
    script.onerror = () => {
      if (state.label === index) {
        $('panel').replaceChildren(h('p', { class: 'notice' }, `data/label-${index}.js is missing beside this page. Copy the whole report folder, not only index.html.`));
      }
    };
    document.head.append(script);
  }

  function showLabel(data) {
    const known = run.labels[state.label];
    const change = (view) => () => state.view !== view && go({ label: state.label, view });
    const button = (view, name) => h('button', { type: 'button', 'aria-pressed': String(state.view === view), onclick: change(view) }, name);
    const focused = document.activeElement?.closest('.switch') !== null && document.activeElement !== document.body;
    const made = known.patches === 0
      ? 'No patch of this label was mined.'
      : known.clusters
        ? `${count(known.clustered, 'patch', 'patches')} from ${count(known.pictures, 'picture')} in ${count(known.clusters, 'cluster')}`
        : `${count(known.patches, 'patch', 'patches')} from ${count(known.pictures, 'picture')}`;
    groups = state.view === 'clusters' ? clusterGroups(data) : listGroups(data);
    $('panel').replaceChildren(
      h('div', { class: 'head' },
        h('div', null,
          h('h2', null, data.label),
          h('p', { class: 'sub' }, made, data.prompt !== null && known.patches > 0 ? ` · prompt “${data.prompt}”` : '')),
        known.clusters ? h('div', { class: 'switch', role: 'group', 'aria-label': 'View' }, button('clusters', 'Clusters'), button('ranking', 'Ranking')) : null),
      ...groups.map((group) => rowOf(group, data)));
    if (focused) $('panel').querySelector('.switch [aria-pressed="true"]')?.focus();
    fillRows(true);
  }

  function clusterGroups(data) {
    const most = Math.max(...data.clusters.map(({ median }) => Math.abs(median)), Number.MIN_VALUE);
    return data.clusters.map((cluster, index) => ({
      key: String(index + 1),
      title: `Cluster ${index + 1}`,
      place: `cluster ${index + 1}`,
      tiles: cluster.members,
      lines: { wide: 1, narrow: 2 },
      about: [
        h('p', null, count(cluster.size, 'patch', 'patches')),
        h('p', null, 'median ', h('span', { class: 'value' }, signed(cluster.median))),
        meter(cluster.median / most),
      ],
    }));
  }

  function listGroups(data) {
    return Object.entries(LISTS).flatMap(([key, { name, about }]) => {
      const { total, shown } = data.lists[key];
      if (total === 0) return [];
      const values = shown.map((tile) => data.patches.typicality[tile]);
      const like = Math.max(...values.map(Math.abs)) || 1;
      return [{
        key,
        title: name,
        place: name.toLowerCase(),
        tiles: shown,
        lines: { wide: 4, narrow: 5 },
        about: [
          h('p', { class: 'hint' }, about),
          h('p', null, shown.length < total ? `first ${shown.length.toLocaleString('en')} of ${total.toLocaleString('en')}` : count(total, 'patch', 'patches')),
          h('p', null, 'from ', h('span', { class: 'value' }, signed(Math.max(...values), like))),
          h('p', null, 'to ', h('span', { class: 'value' }, signed(Math.min(...values), like))),
        ],
      }];
    });
  }

  function meter(share) {
    const bar = h('i', { class: share < 0 ? 'below' : null });
    bar.style.width = `${Math.max(2, Math.abs(share) * 100)}%`;
    return h('div', { class: 'meter', 'aria-hidden': 'true' }, bar);
  }

  function rowOf(group, data) {
    group.expanded = false;
    group.more = h('button', { class: 'more', type: 'button', onclick: () => {
      group.expanded = !group.expanded;
      fillRow(group, data);
      if (!group.expanded) group.row.scrollIntoView({ block: 'nearest' });
    } });
    group.grid = h('div', { class: 'tiles', role: 'group', 'aria-label': `${group.title}, patches` });
    group.row = h('section', { class: 'row', 'aria-label': group.title }, h('div', { class: 'about' }, h('h3', null, group.title), ...group.about, group.more), group.grid);
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
    if (![...group.grid.children].some((tile) => tile.tabIndex === 0) && group.grid.firstChild) group.grid.firstChild.tabIndex = 0;
    group.more.hidden = group.tiles.length <= fit;
    group.more.textContent = group.expanded ? 'Show fewer' : `Show all ${group.tiles.length.toLocaleString('en')}`;
    group.more.setAttribute('aria-expanded', String(group.expanded));
    group.more.setAttribute('aria-label', `${group.more.textContent} of ${group.place}`);
  }

  function tileOf(group, at, data) {
    const tile = group.tiles[at];
    const { patches } = data;
    const file = data.pictures[patches.picture[tile]][1];
    const words = `${file}, typicality ${signed(patches.typicality[tile])}`;
    const element = h('button', {
      class: 'tile', type: 'button', tabindex: '-1', title: words, 'aria-label': `Patch ${at + 1} of ${group.place}: ${words}`,
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
    if (data.pictures[data.patches.picture[tile]][5] === 0) {
      element.classList.add('gone');
      return;
    }
    const { columns: across, rows: most } = run.sheet;
    const sheet = Math.floor(tile / (across * most));
    const place = tile % (across * most);
    const down = Math.min(most, Math.ceil((data.patches.rank.length - sheet * across * most) / across));
    const percent = (index, n) => (n > 1 ? (100 * index) / (n - 1) : 0);
    element.style.backgroundImage = `url("sprites/${state.label}-${sheet}.webp")`;
    element.style.backgroundSize = `${across * 100}% ${down * 100}%`;
    element.style.backgroundPosition = `${percent(place % across, across)}% ${percent(Math.floor(place / across), down)}%`;
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

  // ---------------------------------------------------------------------------------------------- one patch

  /** The patch before or after, also across the edges of its group. */
  function neighbour(group, at, by) {
    if (group.tiles[at + by] !== undefined) return { group, at: at + by };
    for (let row = groups.indexOf(group) + by; groups[row]; row += by) {
      if (groups[row].tiles.length > 0) return { group: groups[row], at: by > 0 ? 0 : groups[row].tiles.length - 1 };
    }
    return null;
  }

  function openDialog(data, group, at) {
    const dialog = $('dialog');
    const { patches } = data;
    const tile = group.tiles[at];
    const [number, file, label, width, height, has] = data.pictures[patches.picture[tile]];
    const turn = (by) => {
      const to = neighbour(group, at, by);
      return { to, go: () => to && go({ ...state, group: to.group.key, rank: patches.rank[to.group.tiles[to.at]] }, true) };
    };
    const before = turn(-1);
    const after = turn(1);
    const focused = dialog.open ? document.activeElement?.id : '';
    dialog.onkeydown = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === 'ArrowLeft') before.go();
      else if (event.key === 'ArrowRight') after.go();
      else if (event.key === 'h' || event.key === 'H') $('heat')?.click();
      else return;
      event.preventDefault();
    };
    const button = (id, name, path, action, disabled) => h('button', { class: 'icon', type: 'button', id, 'aria-label': name, title: name, disabled, onclick: action }, icon(path));
    dialog.replaceChildren(
      h('div', { class: 'strip' },
        h('h2', { id: 'dialog-title' }, `${data.label} `, h('span', null, h('span', { class: 'dot' }, '· '), `${group.place}, patch ${(at + 1).toLocaleString('en')} of ${group.tiles.length.toLocaleString('en')}`)),
        button('previous', 'Previous patch', 'M15 5l-7 7 7 7', before.go, !before.to),
        button('next', 'Next patch', 'M9 5l7 7-7 7', after.go, !after.to),
        button('close', 'Close', 'M6 6l12 12M18 6L6 18', leave, false)),
      h('div', { class: 'body' }, stage(data, tile, { number, file, label, width, height, has }), facts(data, tile, { file, label, width, height })));
    if (!dialog.open) dialog.showModal();
    const focus = focused && $(focused);
    if (focus && !focus.disabled) focus.focus();
    else $(after.to ? 'next' : 'close').focus();
    for (const to of [before.to, after.to]) {
      const [near, , , , , state] = to ? data.pictures[patches.picture[to.group.tiles[to.at]]] : [];
      if (state) new Image().src = `pictures/${near}.webp`;
    }
  }

  function stage(data, tile, { number, file, label, width, height, has }) {
    const { patches } = data;
    const frame = h('div', { class: 'frame', id: 'frame' });
    const under = h('div', { class: 'under' });
    if (has === 0) {
      frame.classList.add('gone');
      frame.append(h('p', { class: 'notice' }, `${file} was not found when this report was written, so its picture cannot be shown.`));
      return h('figure', { class: 'stage' }, frame);
    }
    frame.style.setProperty('--shape', width / height);
    const source = h('img', { class: 'source', src: `pictures/${number}.webp`, alt: `${file}, a picture of ${label}`, width, height });
    source.addEventListener('error', () => frame.append(h('p', { class: 'notice' }, `pictures/${number}.webp is missing beside this page.`)));
    const box = h('div', { class: 'box', id: 'box' });
    box.style.left = `${(100 * patches.x[tile]) / width}%`;
    box.style.top = `${(100 * patches.y[tile]) / height}%`;
    box.style.width = `${(100 * patches.width[tile]) / width}%`;
    box.style.height = `${(100 * patches.height[tile]) / height}%`;
    frame.append(source, box);
    if (has === 2) {
      const legend = legendOf(data.scale);
      const apply = () => {
        let overlay = frame.querySelector('.heat');
        if (warm && !overlay) {
          overlay = h('img', { class: 'heat', src: `maps/${state.label}-${number}.webp`, alt: `Typicality of the picture under ${data.label}` });
          overlay.addEventListener('error', () => frame.append(h('p', { class: 'notice' }, `maps/${state.label}-${number}.webp is missing beside this page.`)));
          source.after(overlay);
        }
        if (overlay) overlay.hidden = !warm;
        frame.classList.toggle('warm', warm);
        legend.hidden = !warm;
      };
      const toggle = h('input', { type: 'checkbox', id: 'heat', role: 'switch', onchange: () => {
        warm = toggle.checked;
        apply();
      } });
      toggle.checked = warm;
      under.append(h('label', { class: 'toggle' }, toggle, 'Typicality map'), legend);
      apply();
    } else {
      under.append(h('p', { class: 'without' }, run.maps.kept ? 'There is no typicality map of this picture.' : 'No typicality map: the scan did not keep maps (--no-maps).'));
    }
    return h('figure', { class: 'stage' }, frame, under);
  }

  function legendOf(scale) {
    const ramp = h('div', { class: 'ramp' });
    ramp.style.backgroundImage = `linear-gradient(to right, ${run.legend.join(', ')})`;
    return h('div', { class: 'legend', id: 'legend', role: 'img', 'aria-label': `Colours from ${signed(-scale)}, untypical, over 0 to ${signed(scale)}, typical` },
      ramp, h('div', { class: 'ends', 'aria-hidden': 'true' }, h('span', null, `${signed(-scale)} untypical`), h('span', null, '0'), h('span', null, `typical ${signed(scale)}`)));
  }

  function facts(data, tile, { file, label, width, height }) {
    const { patches } = data;
    const list = patches.list[tile];
    const error = patches.error[tile];
    const of = data.lists[list].total.toLocaleString('en');
    const thumb = h('div', { class: 'tile', role: 'img', 'aria-label': 'The patch' });
    paintTile(thumb, tile, data);
    const rows = [
      ['File', file],
      ['Label', label],
      label === data.label ? null : ['Scored as', data.label],
      ['Rank', `${patches.rank[tile].toLocaleString('en')} of ${of} (${LISTS[list].name.toLowerCase()})`],
      patches.cluster[tile] === null ? null : ['Cluster', `${patches.cluster[tile] + 1}` + (patches.distance[tile] === null ? '' : `, ${plain(patches.distance[tile])} from its centre`)],
      ['Samples', patches.samples[tile].toLocaleString('en')],
      ['Box', `${length(patches.width[tile])} × ${length(patches.height[tile])} px at ${length(patches.x[tile])}, ${length(patches.y[tile])}`],
      width ? ['Picture', `${width} × ${height} px`] : null,
      data.prompt === null ? null : ['Prompt', data.prompt],
    ].filter(Boolean);
    return h('div', null,
      h('div', { class: 'lead' }, thumb,
        h('div', null,
          h('p', { class: 'sub' }, 'Typicality'),
          h('p', { class: 'score' }, signed(patches.typicality[tile])),
          h('p', { class: 'error', title: 'One standard error of the mean over the samples' }, error === null ? 'no standard error (one sample)' : `± ${plain(error)}`))),
      h('dl', { class: 'detail' }, ...rows.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value)))),
      h('p', { class: 'keys' }, h('kbd', null, '←'), ' ', h('kbd', null, '→'), ' patches  ', h('kbd', null, 'H'), ' map  ', h('kbd', null, 'Esc'), ' close'));
  }

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

  function closeDialog() {
    if ($('dialog').open) $('dialog').close();
  }

  // ---------------------------------------------------------------------------------------------- the end

  const NAMES = {
    size: 'Short side, px', sizeRule: 'Long side rounded', patch: 'Patch, px', samples: 'Samples a picture', perImage: 'Patches a picture', batch: 'Batch',
    allLabels: 'Under all labels', against: 'Compared with', shardSize: 'Pictures a shard', replay: 'Replayed noises', top: 'Patches a label', rank: 'Clustered list',
    restarts: 'Starts of k-means', timestep: 'Features at timestep', upBlock: 'Features of up block', ensemble: 'Feature noises',
  };
  const words = (name) => NAMES[name] ?? name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`).replace(/^./, (c) => c.toUpperCase());
  const said = (value) => (value === null || value === undefined || value === '' ? 'none' : value === true ? 'yes' : value === false ? 'no' : typeof value === 'object' ? JSON.stringify(value) : String(value));

  function sheet(entries) {
    return h('dl', { class: 'sheet' }, ...entries.map(([name, value]) => h('div', { class: said(value).length > 34 ? 'wide' : null }, h('dt', null, name), h('dd', null, said(value)))));
  }

  function excluded({ count: total, shown }, summary) {
    if (total === 0) return null;
    return h('details', null, h('summary', null, summary),
      h('ul', { class: 'list', tabindex: '0', 'aria-label': summary }, ...shown.map(({ image, reason }) => h('li', null, h('b', null, image), `: ${reason}`)),
        total > shown.length ? h('li', null, `and ${(total - shown.length).toLocaleString('en')} more; see skipped.jsonl`) : null));
  }

  function showFoot() {
    const { dataset, model, options, mine, skipped, missing, maps } = run;
    const apart = ['maps', 'tBegin', 'tEnd'];
    const entries = (object) => Object.entries(object ?? {}).filter(([name]) => !apart.includes(name)).map(([name, value]) => [words(name), value]);
    const section = (title, ...children) => h('section', null, h('h2', null, title), ...children);
    $('foot').replaceChildren(
      section('Scan', sheet([...(run.preset ? [['Preset', run.preset]] : []), ...entries(options), ['Timesteps', `${options.tBegin} to ${options.tEnd - 1}`], ['Typicality maps', maps.kept ? 'kept' : 'not kept']])),
      section('Mining', sheet(entries(mine)), ...run.notes.map((note) => h('p', null, note))),
      section('Pictures',
        sheet([['In the data set', dataset.images], ['Labels', dataset.labels], ['Skipped', skipped.count], ['Other files ignored', dataset.ignored], ['With a typicality map here', maps.shown], ['Not found for this report', missing.count]]),
        excluded(skipped, `${count(skipped.count, 'picture')} skipped by the scan`),
        excluded(missing, `${count(missing.count, 'picture')} not found for this report`)),
      section('Where this comes from',
        sheet([['diffmine', run.version], ['Run format', run.format], ['Scan began', run.created], ['Model', model.path], ['Data set', dataset.path],
          ['Run fingerprint', run.fingerprint], ['Model fingerprint', model.fingerprint], ['Data set fingerprint', dataset.fingerprint]])),
      section('Method',
        h('p', null, 'Ioannis Siglidis, Aleksander Holynski, Alexei A. Efros, Mathieu Aubry, Shiry Ginosar: Diffusion Models as Data Mining Tools. ECCV 2024, arXiv 2408.02752.'),
        h('p', null, options.sampler === 'stratified'
          ? 'Standard errors are over the samples of a patch. Timesteps were stratified, so they are upper bounds.'
          : 'Standard errors are over the samples of a patch.')));
  }

  // ---------------------------------------------------------------------------------------------- start

  globalThis.diffmine = {
    run(data) {
      run = data;
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
  };

  window.addEventListener('popstate', () => run && show(parse(location.hash)));
  new ResizeObserver(() => fillRows(false)).observe($('panel'));
  $('dialog').addEventListener('cancel', (event) => {
    event.preventDefault();
    leave();
  });
  $('dialog').addEventListener('click', (event) => event.target === $('dialog') && leave());
  $('skip').addEventListener('click', (event) => {
    event.preventDefault();
    $('panel').focus();
  });
  setTimeout(() => {
    if (!run) $('panel').replaceChildren(h('p', { class: 'notice' }, 'data/run.js is missing beside this page. Copy the whole report folder, not only index.html.'));
  }, 3000);
})();
