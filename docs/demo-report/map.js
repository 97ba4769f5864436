// The map of patches: patches of all labels laid out by their features, drawn on Leaflet's tiles. Pan, zoom, lasso, filters, similar patches, the basket.
'use strict';

(() => {
  const { h, clip, count, signed } = diffmine.tools;
  const COLORS = [
    '#3b7dd8',
    '#e07b28',
    '#2f9e62',
    '#c8417a',
    '#8a63d2',
    '#b39b1f',
    '#2aa5ad',
    '#d14b3f',
    '#6f8f2c',
    '#a8643a',
    '#5a6fd0',
    '#cc6fb4',
  ];

  /** What is chosen on the map; kept while other pages are shown. */
  const chosen = { color: 'label', labels: null, least: null, most: null, selected: [], at: -1, view: null };

  /** The page's elements; `shown` is called when they are in the document. */
  diffmine.mapPage = (page) => {
    const { run, basket } = page;
    const map = diffmine.patches;
    const visible = new Uint8Array(map.count);
    const selected = new Set(chosen.selected);
    let leaflet;

    // ------------------------------------------------------------------------------------------ colors and filters

    const ramp = (t) => `hsl(${Math.round(230 - 215 * t)} 75% ${Math.round(52 - 6 * t)}%)`;
    const colorOf = (i) => {
      if (chosen.color === 'typicality') return ramp((map.typicality[i] - map.low) / (map.high - map.low || 1));
      if (chosen.color === 'cluster') {
        const hue = (map.label[i] * 137.5 + (map.clusterOf(i) ?? 0) * 47.3) % 360;
        return `hsl(${Math.round(hue)} 62% 50%)`;
      }
      return labelColor(map.label[i]);
    };
    const labelColor = (label) =>
      label < COLORS.length ? COLORS[label] : `hsl(${Math.round((label * 137.5) % 360)} 60% 50%)`;
    let colors = [];
    const recolor = () => (colors = Array.from({ length: map.count }, (_, i) => colorOf(i)));

    const canvases = diffmine.mapCanvas(map, page, { visible, selected, chosen, colorOf: (i) => colors[i] });
    const { SIDE, repaint } = canvases;

    const status = h('p', { class: 'sub', role: 'status', id: 'map-count' });
    function filter() {
      let shown = 0;
      for (let i = 0; i < map.count; i++) {
        const error = map.error.at(i);
        const keep =
          (chosen.labels === null || chosen.labels.has(map.label[i])) &&
          (chosen.least === null || map.typicality[i] >= chosen.least) &&
          (chosen.most === null || (error !== null && error <= chosen.most));
        visible[i] = keep ? 1 : 0;
        shown += keep ? 1 : 0;
      }
      status.textContent =
        shown === map.count
          ? count(shown, 'patch', 'patches')
          : `${shown.toLocaleString('en')} of ${count(map.count, 'patch', 'patches')}`;
      repaint();
    }

    // ------------------------------------------------------------------------------------------ choosing patches

    const point = (i) => L.latLng(-SIDE * map.y[i], SIDE * map.x[i]);
    /** The patch that is nearest to a place of the map, within so many pixels. */
    function nearest(latlng, within) {
      const here = leaflet.latLngToContainerPoint(latlng);
      let best = -1;
      let away = within;
      for (let i = 0; i < map.count; i++) {
        if (!visible[i]) continue;
        const there = leaflet.latLngToContainerPoint(point(i));
        const distance = Math.hypot(there.x - here.x, there.y - here.y);
        if (distance < away) [best, away] = [i, distance];
      }
      return best;
    }
    function choose(at, others = [at]) {
      chosen.at = at;
      selected.clear();
      for (const i of others) if (i >= 0) selected.add(i);
      chosen.selected = [...selected];
      repaint();
      side.show();
    }
    const inView = () => {
      const bounds = leaflet.getBounds();
      return [...map.label.keys()].filter((i) => visible[i] && bounds.contains(point(i)));
    };
    const similar = (i) =>
      choose(i, [
        i,
        ...[...map.neighbors.subarray(i * map.near, (i + 1) * map.near)].filter((other) => other < map.count),
      ]);

    const side = diffmine.mapSide(map, page, { selected, chosen, choose, similar });
    page.onBasket = side.show;
    const button = (name, onclick, attributes) =>
      h('button', { type: 'button', class: 'plain', onclick, ...attributes }, name);

    // ------------------------------------------------------------------------------------------ above the map

    const select = h(
      'select',
      {
        id: 'map-color',
        onchange: () => {
          chosen.color = select.value;
          recolor();
          repaint();
          key();
        },
      },
      ...[
        ['label', 'label'],
        ['cluster', 'cluster'],
        ['typicality', 'typicality'],
      ].map(([value, name]) => h('option', { value }, name)),
    );
    select.value = chosen.color;
    const legend = h('div', { class: 'map-key' });
    /** Which colors are which; the labels of the key are the filter by label. */
    function key() {
      const boxes = run.labels.map(({ label }, index) => {
        const box = h('input', {
          type: 'checkbox',
          onchange: () => {
            const on = chosen.labels ?? new Set(run.labels.keys());
            if (box.checked) on.add(index);
            else on.delete(index);
            chosen.labels = on.size === run.labels.length ? null : on;
            filter();
          },
        });
        box.checked = chosen.labels === null || chosen.labels.has(index);
        const swatch = h('i', { 'aria-hidden': 'true' });
        if (chosen.color === 'label') swatch.style.background = labelColor(index);
        else swatch.hidden = true;
        return h('label', { title: label }, box, swatch, clip(label, 24));
      });
      const scale = h('span', { class: 'ramp' });
      scale.style.backgroundImage = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(ramp).join(', ')})`;
      legend.replaceChildren(
        h('fieldset', null, h('legend', { class: 'unseen' }, 'Labels'), ...boxes),
        ...(chosen.color === 'typicality'
          ? [h('p', { class: 'sub scale' }, signed(map.low), ' ', scale, ' ', signed(map.high))]
          : []),
      );
    }
    /** A slider over a range of values; at its end it filters nothing. */
    function slider(name, id, [low, high], end, value, set) {
      const output = h('output', { for: id });
      const input = h('input', {
        type: 'range',
        id,
        min: '0',
        max: '100',
        step: '1',
        oninput: () => {
          const step = Number(input.value);
          const to = step === end ? null : low + ((high - low) * step) / 100;
          output.textContent = to === null ? 'any' : signed(to, high || 1).replace('+', '');
          set(to);
          filter();
        },
      });
      input.value = value === null ? String(end) : String(Math.round((100 * (value - low)) / (high - low || 1)));
      output.textContent = value === null ? 'any' : signed(value, high || 1).replace('+', '');
      return h('label', { class: 'slider' }, h('span', null, name), input, output);
    }

    const lasso = button('Lasso', () => setLasso(lasso.getAttribute('aria-pressed') !== 'true'), {
      id: 'lasso',
      'aria-pressed': 'false',
      title: 'Draw around patches (key L)',
    });
    const cover = diffmine.lasso((isInside) => {
      const inside = [...map.label.keys()].filter((i) => {
        if (!visible[i]) return false;
        const { x, y } = leaflet.latLngToContainerPoint(point(i));
        return isInside(x, y);
      });
      setLasso(false);
      choose(inside[0] ?? -1, inside);
    });
    function setLasso(on) {
      lasso.setAttribute('aria-pressed', String(on));
      cover.hidden = !on;
    }
    const canvas = h('div', {
      class: 'map',
      id: 'map',
      tabindex: '0',
      role: 'application',
      'aria-label':
        'Map of patches. Arrow keys pan, plus and minus zoom, Enter selects the patch nearest to the middle, S similar patches, B adds it to the basket, L draws a lasso.',
    });
    canvas.append(cover);
    canvas.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target !== canvas) return;
      const { at } = chosen;
      const act = {
        Enter: () => choose(nearest(leaflet.getCenter(), Infinity)),
        l: () => setLasso(cover.hidden),
        s: () => at >= 0 && similar(at),
        b: () => at >= 0 && basket.add(diffmine.itemOf(page, at)),
        Escape: () => (cover.hidden ? choose(-1, []) : setLasso(false)),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });

    const elements = [
      h(
        'div',
        { class: 'head' },
        h(
          'div',
          null,
          h('h2', null, 'Map of patches'),
          h('p', { class: 'sub' }, 'Patches of all labels: those that look alike to the model are near each other.'),
          status,
        ),
      ),
      h(
        'div',
        { class: 'map-tools' },
        h('label', null, 'Color by ', select),
        slider('Typicality ≥', 'map-least', [map.low, map.high], 0, chosen.least, (value) => (chosen.least = value)),
        map.errors[1] > 0
          ? slider('Standard error ≤', 'map-most', map.errors, 100, chosen.most, (value) => (chosen.most = value))
          : null,
        h(
          'div',
          { class: 'actions' },
          lasso,
          button(
            'Select all in view',
            () => {
              const all = inView();
              choose(all[0] ?? -1, all);
            },
            { id: 'in-view' },
          ),
          button('Whole map', () => leaflet.fitBounds(whole(), { animate: false }), { id: 'whole' }),
        ),
      ),
      legend,
      h('div', { class: 'map-body' }, canvas, side.element),
    ];
    const whole = () => L.latLngBounds([-SIDE, 0], [0, SIDE]);

    function shown() {
      const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
      leaflet = L.map(canvas, {
        crs: L.CRS.Simple,
        attributionControl: false,
        minZoom: 0,
        maxZoom: 9,
        zoomAnimation: !still,
        inertia: !still,
        fadeAnimation: false,
        doubleClickZoom: false,
        boxZoom: false,
        keyboardPanDelta: 120,
      });
      diffmine.leaflet = leaflet;
      const Patches = L.GridLayer.extend({ createTile: canvases.create });
      recolor();
      key();
      filter();
      if (chosen.view) leaflet.setView(chosen.view.center, chosen.view.zoom, { animate: false });
      else leaflet.fitBounds(whole(), { animate: false });
      const layer = new Patches({
        keepBuffer: 1,
        updateWhenZooming: false,
        bounds: L.latLngBounds([-SIDE * 1.25, -SIDE * 0.25], [SIDE * 0.25, SIDE * 1.25]),
      });
      layer.on('tileunload', ({ tile }) => canvases.remove(tile));
      layer.addTo(leaflet);
      leaflet.on('moveend', keepView);
      leaflet.on('click', ({ latlng }) => choose(nearest(latlng, 24)));
      side.show();
    }
    const keepView = () => (chosen.view = { center: leaflet.getCenter(), zoom: leaflet.getZoom() });
    function left() {
      // Leaflet tells of a new size later, also where the map is gone
      leaflet.off('moveend', keepView);
      leaflet.remove();
      page.onBasket = null;
    }
    return { elements, shown, left };
  };
})();
