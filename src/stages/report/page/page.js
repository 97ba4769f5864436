// The report's page. Data comes through calls that its data files make: diffmine.run(run), diffmine.label(index, label), diffmine.map(map), diffmine.trends(trends).
'use strict';

(() => {
  const { $, h, count, paragraphs } = diffmine.tools;

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
    /** of the label on show */
    get data() {
      return labels.get(state.label);
    },
    go,
    leave,
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
  const { address, parse, pages } = diffmine.addresses(page);
  const tabs = diffmine.tabs(page, pages);
  const rows = diffmine.rows(page);
  page.paintTile = rows.paintTile;
  const dialog = diffmine.patch(page);
  /** called when the page on show is left */
  let leaving = null;
  /** whether the reader was below the top of the last page, and the next one is to begin at its top when its data is there */
  let below = false;

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
    tabs.show();
    diffmine.foot(run);
  }

  /** A new label is shown in the view that is on. */
  const viewFor = (index) => (state.view === 'ranking' || run.labels[index].clusters === 0 ? 'ranking' : 'clusters');

  // ---------------------------------------------------------------------------------------------- one label

  function show(next) {
    const old = state;
    state = next;
    const entering = old.label !== next.label || old.image !== next.image;
    if (entering) {
      below = old.label !== undefined && $('panel').getBoundingClientRect().top < 0;
      leaving?.();
      leaving = null;
      tabs.rove();
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
      if (below) scrollToBar();
      below = false;
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
      else if (below) scrollToBar();
    }
    below = false;
  }

  /** Scrolls until the tabs are at the top. Their own place is not used: it moves where they stick. */
  function scrollToBar() {
    window.scrollTo({ top: $('bar').previousElementSibling.getBoundingClientRect().bottom + window.scrollY });
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
    // the map is as high as the window below the tabs
    scrollToBar();
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
    groups = state.view === 'clusters' ? rows.clusterGroups(data) : rows.listGroups(data);
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
      ...groups.map((group) => rows.rowOf(group, data)),
    );
    if (focused) $('panel').querySelector('.switch [aria-pressed="true"]')?.focus();
    rows.fillRows(true);
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
      rows.fillRow(group, data);
    }
    group.grid.children[at].focus();
  }

  // ---------------------------------------------------------------------------------------------- start

  Object.assign(diffmine, {
    run(data) {
      run = data;
      page.tiles = diffmine.tiles(run.sheet);
      page.basket = diffmine.basket(run.fingerprint, run.root, () => {
        $('status').textContent = `Basket: ${count(page.basket.list().length, 'patch', 'patches')}`;
        page.onBasket?.();
      });
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
  new ResizeObserver(() => rows.fillRows(false)).observe($('panel'));
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
